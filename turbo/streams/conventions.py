"""
The conventions of model streams, which need no code but two options in ``Meta``.

With ``Meta.refreshes = True``, every page that shows an instance refreshes itself when
the instance changes, and every page that shows all instances when any of them changes.
``Meta.broadcasts_to = "room"`` keeps the instances up to date on the pages of their
room::

    create   <turbo-stream action="append" target="messages"><template>…</template>
    update   <turbo-stream action="replace" target="message_1"><template>…</template>
    delete   <turbo-stream action="remove" target="message_1">

With both, the pages of the room refresh themselves instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import ForeignKey, Model

from turbo.changes import ModelChange
from turbo.exceptions import ConfigurationError
from turbo.runtime.context import first_time
from turbo.streams.emitter import refresh_element
from turbo.streams.html import dom_id
from turbo.streams.rendering import Template
from turbo.streams.stream import Stream

__all__ = [
    "INSERTS",
    "CollectionStream",
    "ConventionalStream",
    "parent_field",
    "parent_stream_class",
]

#: The verbs that ``Meta.inserts_by`` may name.
INSERTS = ("append", "prepend", "before", "after")


class ConventionalStream(Stream):
    """
    The base class of model streams, which sends what the options of ``Meta`` say.

    Each ``get_broadcast_…`` method is one convention, which you can override.
    """

    class Meta:
        abstract = True

    instance: Any

    @classmethod
    def finds_streams_itself(cls) -> bool:
        """Return whether this class has a ``get_broadcast_streams`` of its own."""
        default = ConventionalStream.get_broadcast_streams
        return cls.get_broadcast_streams is not default

    @classmethod
    def broadcasts(cls) -> bool:
        """Return whether instances are kept up to date on pages of other streams."""
        return bool(cls.options.broadcasts_to) or cls.finds_streams_itself()

    @classmethod
    def reads_before(cls) -> Sequence[str] | None:
        """
        Return the fields on which the streams depend that show an instance.

        ``None`` means that they may depend on anything.
        """
        if cls.finds_streams_itself():
            return None
        return [cls.options.broadcasts_to] if cls.options.broadcasts_to else []

    @classmethod
    def follows_conventions(cls) -> bool:
        """Return whether the class's ``Meta`` makes it send something after changes."""
        return cls.options.refreshes or cls.broadcasts()

    @classmethod
    def collection(cls) -> CollectionStream:
        """Return the stream of all instances: ``"chat:BoardStream"``."""
        return CollectionStream(cls)

    @classmethod
    def collection_passes_test(cls, user: Any) -> bool:
        """
        Return whether ``user`` may subscribe to all instances; may be ``async``.

        The library itself sends only refreshes to the stream of all instances.
        """
        return True

    @classmethod
    def tests_collection(cls) -> bool:
        """Return whether this class has its own ``collection_passes_test()``."""
        default = ConventionalStream.collection_passes_test.__func__  # type: ignore[attr-defined]
        return cls.collection_passes_test.__func__ is not default  # type: ignore[attr-defined]

    def get_broadcast_streams(self) -> Sequence[Stream]:
        """Return the streams whose pages show the instance: its parent's."""
        return parent_streams(self.instance, self.options.broadcasts_to or "")

    def get_broadcast_template(self) -> Template:
        """Return the template of one instance: ``"chat/message.html"``."""
        meta = self.instance._meta
        return self.options.template or f"{meta.app_label}/{meta.model_name}.html"

    def get_broadcast_context(self) -> dict[str, Any]:
        """Return the template's variables: ``{"message": message}``."""
        return {self.instance._meta.model_name: self.instance}

    def get_broadcast_target(self) -> str:
        """Return the id of the element for new instances: ``"messages"``."""
        return self.options.target or f"{self.instance._meta.model_name}s"

    def get_broadcast_id(self) -> str:
        """Return the id of the instance's own element: ``"message_1"``."""
        return dom_id(self.instance)

    def follow_conventions(self, change: ModelChange) -> None:
        """Send a change of the instance to the pages that show it."""
        after = [] if change.action == "delete" else self._places()
        before: Sequence[Stream] = []
        if change.action != "create":
            # Changes that are only announced have no earlier state.
            before = self._places() if change.before is None else change.before
        if self.options.refreshes:
            self._refresh_all(change, before, after)
        else:
            self._show_all(before, after)

    def _places(self) -> Sequence[Stream]:
        return self.get_broadcast_streams() if self.broadcasts() else []

    def _refresh_all(
        self, change: ModelChange, before: Sequence[Stream], after: Sequence[Stream]
    ) -> None:
        concerned = [*before, *after, self.collection()]
        if change.action != "create":  # no page shows a new instance yet
            concerned.append(self)
        for name, stream in _by_name(concerned).items():
            if not first_time(("refresh", name)):
                continue  # the first one shows the whole transaction
            if stream is self and change.action == "delete":
                # It is the last refresh of this stream, so nothing is saved by waiting.
                stream.stream_raw(refresh_element())
            else:
                stream.refresh()

    def _show_all(self, before: Sequence[Stream], after: Sequence[Stream]) -> None:
        was, now = _by_name(before), _by_name(after)
        for name, stream in (was | now).items():
            if name not in now:
                stream.remove(id=self.get_broadcast_id())
            elif name in was:
                self._show(stream.replace, self.get_broadcast_id())
            else:
                insert = _insert(stream, self.options.inserts_by)
                self._show(insert, self.get_broadcast_target())

    def _show(self, verb: Callable[..., None], id: str) -> None:
        template = self.get_broadcast_template()
        verb(template, self.get_broadcast_context(), id=id)


class CollectionStream(Stream):
    """The stream of all instances of a model; its name is the label of the class."""

    class Meta:
        abstract = True

    def __init__(self, stream_class: type[ConventionalStream]) -> None:
        self.stream_class = stream_class
        # It may be a coroutine function; the caller awaits its result then.
        self.user_passes_test = stream_class.collection_passes_test  # type: ignore[method-assign]

    @property
    def stream_name(self) -> str:
        """Return the label of the stream class."""
        return self.stream_class.label

    def tests_user(self) -> bool:  # type: ignore[override]
        """Return whether the stream class has its own ``collection_passes_test()``."""
        return self.stream_class.tests_collection()


def parent_field(model: type[Model], name: str) -> ForeignKey[Any, Any]:
    """Return the foreign key that ``Meta.broadcasts_to`` names."""
    field: Any
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if isinstance(field, ForeignKey):
        return field
    kind = f"a {type(field).__name__}" if field else "not a field"
    raise ConfigurationError(
        f"{model._meta.label}.{name} should be a foreign key, but it is {kind}."
    )


def parent_stream_class(field: ForeignKey[Any, Any]) -> Any:
    """Return the stream class of the model that ``field`` points to."""
    stream_class = getattr(field.related_model, "stream", None)
    if isinstance(stream_class, type) and issubclass(stream_class, ConventionalStream):
        return stream_class
    raise ConfigurationError(
        f"{field.model._meta.label}.{field.name} points to "
        f"{field.related_model._meta.label}, whose instances have no stream."
    )


def parent_streams(instance: Model, name: str) -> Sequence[Stream]:
    """Return the stream of the instance's parent, if any, without loading it."""
    field = parent_field(type(instance), name)
    key = getattr(instance, field.attname)
    if key is None:
        return []
    stream_class = parent_stream_class(field)
    if not field.target_field.primary_key:
        return [stream_class.from_instance(getattr(instance, name))]
    parent = field.related_model._meta.concrete_model
    return [stream_class(field.target_field.to_python(key), model=parent)]


def _insert(stream: Stream, verb: str) -> Callable[..., None]:
    verbs = (stream.append, stream.prepend, stream.before, stream.after)
    return dict(zip(INSERTS, verbs, strict=True))[verb]


def _by_name(streams: Iterable[Stream]) -> dict[str, Stream]:
    return {stream.stream_name: stream for stream in streams}
