"""The watched models and their declarations."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db.models import Model
from django.db.models.signals import class_prepared
from django.utils.module_loading import import_string

from turbo.changes import ModelChange, Watch, watch
from turbo.changes.rows import plain, write_row
from turbo.exceptions import ConfigurationError
from turbo.pubsub.channel_writer import send, send_gap
from turbo.pubsub.conf import get_pubsub_settings
from turbo.pubsub.data import values_of
from turbo.pubsub.declarations import ListenableModelMixin, ModelListenConfig
from turbo.pubsub.message import Announcement, PublishedAction
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import Lock
from turbo.runtime.namespaces import current
from turbo.typing import ChangeAction

__all__ = [
    "Listening",
    "extra_listenings",
    "find",
    "listen",
    "listenings",
]

logger = logging.getLogger("turbo.pubsub")

ACTIONS: dict[ChangeAction, PublishedAction] = {
    "create": "created",
    "update": "saved",
    "delete": "deleted",
}


@dataclass(frozen=True, slots=True, eq=False)
class Listening:
    """One listenable model, and its declaration: the model itself or a config."""

    model: type[Model]
    declaration: Any

    @property
    def label(self) -> str:
        """Return ``app.Model``."""
        return self.model._meta.label

    def announcement(self, change: ModelChange) -> Announcement | None:
        """Return the announcement of a change, or ``None`` if it is not published."""
        action = ACTIONS[change.action]
        if not _answer(self.declaration.should_notify(change.instance, action)):
            return None
        row = None
        if action == "deleted":
            names = self.declaration.deleted_fields
            row = write_row(change.instance, self.model, names)
        return Announcement(
            app=self.model._meta.app_label,
            model=self.model._meta.object_name or "",
            action=action,
            pk=plain(change.pk),
            using=change.using,
            row=row,
            namespace=current(),
        )

    def admits(self, instance: Model, user: Any) -> bool:
        """Return whether a user may get a change; nobody may if the test fails."""
        try:
            return _answer(self.declaration.has_access(instance, user))
        except Exception as error:
            log_failure(f"has_access() of {self.label} failed.", error)
            return False

    def data(self, instance: Model) -> Any:
        """Return the data of ``instance`` for clients."""
        serializer_class = self.serializer_class
        if serializer_class is not None:
            return serializer_class(instance).data
        return values_of(instance, self.declaration.serializer_fields)

    @property
    def serializer_class(self) -> Any:
        """The serializer, imported if it is given as a dotted path."""
        given = self.declaration.serializer_class
        return import_string(given) if isinstance(given, str) else given


def _answer(answer: Any) -> bool:
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError("should_notify() and has_access() cannot be asynchronous.")
    return bool(answer)


def listenings() -> Iterator[Listening]:
    """Yield the models with the mixin, without proxies of such models."""
    for model in apps.get_models():
        if _has_mixin(model):
            yield Listening(model, model)


def extra_listenings() -> list[Listening | str]:
    """Return the models in ``EXTRA_MODELS``, with texts for invalid entries."""
    found: dict[str, Listening] = {}
    result: list[Listening | str] = []
    for path in get_pubsub_settings().extra_models:
        try:
            listening = _extra(path)
            if listening.label in found:
                raise ConfigurationError(f"{listening.label} is listed twice.")
            found[listening.label] = listening
            result.append(listening)
        except (ConfigurationError, ImportError, LookupError, ValueError) as error:
            result.append(f"TURBO['PUBSUB']['EXTRA_MODELS'] has {path!r}: {error}")
    return result


def _extra(path: str) -> Listening:
    config = import_string(path)
    if not (isinstance(config, type) and issubclass(config, ModelListenConfig)):
        raise ConfigurationError("It is not a ModelListenConfig.")
    if not config.model_path:
        raise ConfigurationError('It has no model_path, such as "auth.User".')
    model: Any = apps.get_model(config.model_path)
    if issubclass(model, ListenableModelMixin):
        raise ConfigurationError(f"{model._meta.label} is already listenable.")
    return Listening(model, config())


def _has_mixin(model: type[Model]) -> bool:
    if not issubclass(model, ListenableModelMixin) or model._meta.swapped:
        return False
    concrete = model._meta.concrete_model
    return concrete is model or not issubclass(concrete or model, ListenableModelMixin)


class _Watched:
    """The watched models of this process, by label."""

    def __init__(self) -> None:
        self._lock = Lock()  # held while _watches changes
        self._watches: dict[str, tuple[Listening, Watch]] = {}

    def find(self, label: str) -> Listening | None:
        found = self._watches.get(label)
        return found[0] if found else None

    def add(self, listening: Listening) -> None:
        def tell(change: ModelChange) -> None:
            announcement = listening.announcement(change)
            if announcement is not None:
                send(announcement)

        with self._lock:
            if listening.label not in self._watches:
                made = watch(listening.model, tell, many=lambda using: send_gap())
                self._watches[listening.label] = listening, made

    def clear(self) -> None:
        with self._lock:
            for _, made in self._watches.values():
                made.stop()
            self._watches = {}


_watched = _Watched()


def find(label: str) -> Listening | None:
    """Return the model with the label ``"shop.Topping"``, if it is watched."""
    return _watched.find(label)


def listen() -> None:
    """Watch all listenable models, including those that are made later."""
    class_prepared.connect(_on_class_prepared, dispatch_uid="turbo.pubsub")
    setting_changed.connect(_on_setting_changed, dispatch_uid="turbo.pubsub")
    for listening in listenings():
        _watched.add(listening)
    try:
        extra = extra_listenings()
    except ConfigurationError as error:
        extra = [str(error)]
    for item in extra:
        if isinstance(item, Listening):
            _watched.add(item)
        else:
            # The system checks report it too, but a server runs none.
            logger.error(item)


def _on_class_prepared(sender: type[Model], **kwargs: Any) -> None:
    # Models of migrations belong to another registry of apps.
    if sender._meta.apps is apps and _has_mixin(sender):
        _watched.add(Listening(sender, sender))


def _on_setting_changed(*, setting: str, **kwargs: Any) -> None:
    if setting == "TURBO":
        _watched.clear()
        listen()
