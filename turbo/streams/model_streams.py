"""
Streams of model instances and their hooks for changes.

``instance.stream`` is a descriptor on the model class, so it costs nothing when rows
are loaded. A stream class with :meth:`~ModelStream.on_save` or
:meth:`~ModelStream.on_delete` watches its model; the hooks run once for each object and
transaction, after the commit.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Self

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model

from turbo import metrics
from turbo.changes import ModelChange, watch
from turbo.changes.captured import capture
from turbo.changes.durability import durable
from turbo.changes.rows import pk_from_name, pk_to_name
from turbo.exceptions import ConfigurationError, UnsavedInstanceError
from turbo.replay import get_replay
from turbo.runtime import tracing
from turbo.runtime.context import Cause, cause_scope, writer
from turbo.runtime.namespaces import in_namespace
from turbo.streams.conventions import ConventionalStream
from turbo.streams.stream import Stream

__all__ = ["ModelStream", "StreamDescriptor"]

logger = logging.getLogger("turbo.streams")


class StreamDescriptor:
    """``instance.stream``; on the class, the stream class itself."""

    def __init__(self, stream_class: type[ModelStream]) -> None:
        self.stream_class = stream_class

    def __get__(self, instance: Model | None, owner: type) -> Any:
        if instance is None:
            return self.stream_class
        return self.stream_class.from_instance(instance)


class ModelStream(ConventionalStream):
    """
    The stream of one instance of ``Meta.model``: ``room.stream``.

    Its name is ``"chat:RoomStream:1"``. Define ``on_save(self, instance, created)`` and
    ``on_delete(self, instance)`` to broadcast when instances change; both may take
    ``**kwargs`` (``update_fields``, ``using``, ``retried``). The options of ``Meta``
    take effect before these hooks, see :mod:`turbo.streams.conventions`.
    """

    class Meta:
        abstract = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.options.abstract:
            return
        model = cls.options.model
        if not (isinstance(model, type) and issubclass(model, Model)):
            raise ConfigurationError(
                f"{cls.__module__}.{cls.__qualname__} needs a model: set Meta.model, "
                f"or Meta.abstract = True if it is a base for others."
            )
        _bind(cls)
        if cls.options.durable:
            durable(model)
        if cls.options.capture:
            capture(model)
        if cls.watches():
            before = cls._places_of if cls.broadcasts() else None
            reads = cls.reads_before()
            watch(model, cls._changed, mark=_moment, before=before, reads=reads)

    def __init__(
        self,
        pk: Any,
        instance: Model | None = None,
        *,
        model: type[Model] | None = None,
    ) -> None:
        self.pk = pk
        self._model = model
        if instance is not None:
            self.instance = instance

    @classmethod
    def watches(cls) -> bool:
        """Return whether this class does anything after changes of the model."""
        hooks = hasattr(cls, "on_save") or hasattr(cls, "on_delete")
        return hooks or cls.follows_conventions()

    @classmethod
    def from_pk(cls, pk: Any) -> Self:
        """Return the stream of the instance with this primary key; no query."""
        return cls(pk)

    @classmethod
    def from_instance(cls, instance: Model) -> Self:
        """Return the stream of ``instance``."""
        return cls(instance.pk, instance)

    @classmethod
    def from_args_text(cls, text: str) -> Stream:
        """
        Return the stream whose name ends in ``text``.

        If ``text`` is empty, this is the stream of all instances.
        """
        if not text:
            return cls._named_alone()
        model = cls.options.model
        if model._meta.abstract:
            label, _, text = text.partition(":")
            model = apps.get_model(label)
        return cls(pk_from_name(model, text), model=model)

    @classmethod
    def _named_alone(cls) -> Stream:
        if cls.options.refreshes:
            return cls.collection()
        raise ConfigurationError(
            f"The stream name {cls.label!r} needs the key of a "
            f"{cls.options.model.__name__}. For a stream of all instances, set "
            f"Meta.refreshes = True."
        )

    def args_text(self) -> str:
        """Return the primary key as the last part of the name."""
        if not _is_saved(self.pk):
            raise UnsavedInstanceError(self.model._meta.label)
        if self.options.model._meta.abstract:
            return f"{self.model._meta.label}:{pk_to_name(self.pk)}"
        return pk_to_name(self.pk)

    @property
    def model(self) -> Any:
        """Return the concrete model: ``Meta.model``, unless that is abstract."""
        if not self.options.model._meta.abstract:
            return self.options.model
        return self._model or type(self.instance)._meta.concrete_model

    @cached_property
    def instance(self) -> Any:
        """Return the instance; it is loaded from the database if necessary."""
        return self.model._base_manager.get(pk=self.pk)

    def exists(self) -> bool:
        """Return whether the instance exists; this loads it."""
        try:
            return self.instance is not None
        except ObjectDoesNotExist:
            return False

    @classmethod
    def load(cls, streams: Sequence[ModelStream]) -> None:
        """Give ``streams`` their instances, with one query for all that exist."""
        missing = [s for s in streams if "instance" not in vars(s)]
        if len(missing) < 2 or cls.options.model._meta.abstract:
            return  # each loads its own
        rows = cls.options.model._base_manager.in_bulk([s.pk for s in missing])
        for stream in missing:
            if stream.pk in rows:
                stream.instance = rows[stream.pk]

    @classmethod
    def _changed(cls, change: ModelChange) -> None:
        cause = Cause(_object_key(change), writer(), change.mark or "?")
        try:
            with cause_scope(cause):
                cls._trace(change)
        except Exception:
            if change.retried:
                raise  # it is tried once more
            # The row is committed, so the request must go on although a hook failed.
            metrics.count("failed")
            logger.exception("%s failed to broadcast %s.", cls.label, cause.key)

    @classmethod
    def _trace(cls, change: ModelChange) -> None:
        if tracing.tracer is None:
            return cls.changed(change)
        attributes = {
            "turbo.stream": cls.label,
            "turbo.model": change.model._meta.label,
            "turbo.action": change.action,
        }
        with tracing.tracer.span("turbo.change", attributes):
            return cls.changed(change)

    @classmethod
    def _places_of(cls, stored: Model) -> Sequence[Stream]:
        return cls.from_instance(stored).get_broadcast_streams()

    @classmethod
    def changed(cls, change: ModelChange) -> None:
        """Follow ``Meta`` and call the hooks for one change, after its commit."""
        deleted = change.action == "delete"
        needs_row = not deleted and (cls.broadcasts() or hasattr(cls, "on_save"))
        instance = _as_stored(change) if needs_row else change.instance
        if instance is None:
            return  # deleted since, which is another change
        stream = cls.from_instance(instance)
        if cls.follows_conventions():
            stream.follow_conventions(change)
        hook = getattr(stream, "on_delete" if deleted else "on_save", None)
        if hook is not None:
            _call(hook, instance, change)


def _bind(cls: type[ModelStream]) -> None:
    """Set the model's attribute, unless the model already has another one."""
    model, attribute = cls.options.model, cls.options.attribute
    current = inspect.getattr_static(model, attribute, None)
    taken = current is not None and not isinstance(current, StreamDescriptor)
    if taken or (current and current.stream_class.label != cls.label):
        return  # a system check reports it
    setattr(model, attribute, StreamDescriptor(cls))


def _as_stored(change: ModelChange) -> Any:
    """Return the instance with the database's values, also after a partial save."""
    values = vars(change.instance).values()
    if change.update_fields is None and not any(
        hasattr(value, "resolve_expression") for value in values
    ):
        return change.instance
    return change.fresh()


def _call(hook: Any, instance: Any, change: ModelChange) -> None:
    args: list[Any] = [instance]
    details: dict[str, Any] = {"using": change.using}
    if change.action != "delete":
        args.append(change.created)
        details["update_fields"] = change.update_fields
    takes_any, takes_retried = _keywords(getattr(hook, "__func__", hook))
    kwargs = details if takes_any else {}
    if takes_retried or (takes_any and change.retried):
        kwargs["retried"] = change.retried
    result = hook(*args, **kwargs)
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{hook.__qualname__}() is a coroutine, so it is not run.")


def _moment() -> str:
    return get_replay().moment_of_change()


@lru_cache(maxsize=256)
def _keywords(hook: Any) -> tuple[bool, bool]:
    """Return whether a hook takes all keyword arguments, and whether ``retried``."""
    parameters = inspect.signature(hook).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return takes_any, "retried" in parameters


def _object_key(change: ModelChange) -> str:
    return in_namespace(f"{change.model._meta.label}:{pk_to_name(change.pk)}")


def _is_saved(pk: Any) -> bool:
    # With an empty key, the name would be that of the stream of all instances.
    return None not in pk if isinstance(pk, tuple) else pk not in (None, "")
