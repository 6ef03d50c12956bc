"""
What a model stream does with no code of its own: two lines in ``Meta``.

``Meta.refreshes = True`` lets every page that shows an instance refresh itself whenever
the instance changes, and every page that shows them all, whenever any does.

``Meta.broadcasts_to = "room"`` keeps the instances on the pages of their room::

    create   <turbo-stream action="append" target="messages"><template>…</template>
    update   <turbo-stream action="replace" target="message_1"><template>…</template>
    delete   <turbo-stream action="remove" target="message_1">

With both, the pages of the room refresh themselves instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db.models import ForeignKey, Model

from turbo.changes import ModelChange
from turbo.dom import dom_id
from turbo.exceptions import ConfigurationError
from turbo.rendering import Template
from turbo.streams import Stream

__all__ = ["INSERTS", "CollectionStream", "ConventionalStream", "parent_field"]

#: The values of ``Meta.inserts_by``, and the verbs that they mean.
INSERTS: Mapping[str, Callable[..., None]] = {
    "append": Stream.append,
    "prepend": Stream.prepend,
    "before": Stream.before,
    "after": Stream.after,
}


class ConventionalStream(Stream):
    """
    The stream of an instance, as far as its ``Meta`` says it all.

    Each ``get_broadcast_…`` is one convention, to be overridden by itself.
    """

    class Meta:
        abstract = True

    instance: Any

    @classmethod
    def broadcasts(cls) -> bool:
        """Return whether instances are kept up to date on pages of other streams."""
        own = ConventionalStream.get_broadcast_streams
        return bool(cls.options.broadcasts_to) or cls.get_broadcast_streams is not own

    @classmethod
    def follows_conventions(cls) -> bool:
        """Return whether changes mean anything by the class's ``Meta`` alone."""
        return cls.options.refreshes or cls.broadcasts()

    @classmethod
    def collection(cls) -> CollectionStream:
        """Return the stream of all instances: ``"chat:BoardStream"``."""
        return CollectionStream(cls)

    @classmethod
    def collection_passes_test(cls, user: Any) -> bool:
        """
        Return whether ``user`` may hear when any instance changes; may be ``async``.

        By itself that stream carries nothing but refreshes.
        """
        return True

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
        """Return the id of the element that new instances go to: ``"messages"``."""
        return self.options.target or f"{self.instance._meta.model_name}s"

    def get_broadcast_id(self) -> str:
        """Return the id of the instance's own element: ``"message_1"``."""
        return dom_id(self.instance)

    def follow_conventions(self, change: ModelChange) -> None:
        """Tell the pages concerned of a change of the instance."""
        after = [] if change.action == "delete" else self._places()
        if change.action == "create":
            before = []
        elif change.before is None:  # announced: nobody looked
            before = after or self._places()
        else:
            before = change.before
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
        if change.action != "create":  # of a new instance there is no page yet
            concerned.append(self)
        for stream in _by_name(concerned).values():
            stream.refresh()

    def _show_all(self, before: Sequence[Stream], after: Sequence[Stream]) -> None:
        was, now = _by_name(before), _by_name(after)
        for name, stream in (was | now).items():
            if name not in now:
                stream.remove(id=self.get_broadcast_id())
            elif name in was:
                self._show(stream.replace, self.get_broadcast_id())
            else:
                insert = INSERTS[self.options.inserts_by]
                self._show(insert.__get__(stream), self.get_broadcast_target())

    def _show(self, verb: Callable[..., None], id: str) -> None:
        template = self.get_broadcast_template()
        verb(template, self.get_broadcast_context(), id=id)


class CollectionStream(Stream):
    """The stream of all instances of a model, which is called as the class is."""

    class Meta:
        abstract = True

    def __init__(self, stream_class: type[ConventionalStream]) -> None:
        self.stream_class = stream_class
        # Taken as it is: the gate asks whether it is to be awaited.
        self.user_passes_test = stream_class.collection_passes_test  # type: ignore[method-assign]

    @property
    def stream_name(self) -> str:
        """Return the label of the stream class."""
        return self.stream_class.label
