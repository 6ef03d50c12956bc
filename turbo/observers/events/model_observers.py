"""
Observing models, with a handler.

::

    class RoomConsumer(GenericAsyncAPIConsumer):
        @model_observer(Message, serializer_class=MessageSerializer)
        async def message_activity(
            self, message, action, subscribing_request_ids=(), **kwargs
        ):
            for request_id in subscribing_request_ids:
                await self.reply(action, data=message, request_id=request_id)

        @message_activity.groups_for_signal
        def message_activity(self, instance, **kwargs):
            yield f"room-{instance.room_id}"

        @message_activity.groups_for_consumer
        def message_activity(self, room, **kwargs):
            yield f"room-{room}"

        @action()
        async def subscribe_to_room(self, room, request_id, **kwargs):
            await self.message_activity.subscribe(room=room, request_id=request_id)

A message that moves from one room to another is a *delete* for the first, and a
*create* for the second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from django.db.models import Model

from turbo import metrics
from turbo.changes import ModelChange, watch
from turbo.changes.rows import plain
from turbo.delivery.broadcast import broadcast
from turbo.delivery.unreadable import Unreadable, drop
from turbo.observers.events.handlers import BaseObserver, ObservedEvent, plain_body
from turbo.observers.wire.notice import ChangeNotice
from turbo.observers.wire.replies import encode
from turbo.runtime.threads import database_sync_to_async

__all__ = ["Action", "ModelObserver", "model_observer"]

logger = logging.getLogger("turbo.observers")


class Action(StrEnum):
    """What happened to an object, as one group sees it."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class BeforeChange:
    """An object before the transaction, and the groups that it was in."""

    instance: Any
    groups: tuple[str, ...]


def model_observer(
    model: type[Model],
    serializer_class: Any = None,
    many_to_many: bool = False,
) -> Callable[[Callable[..., Any]], ModelObserver]:
    """
    Call a handler of every subscribed consumer when an instance of ``model`` changes.

    The handler gets the object, serialized once for all consumers by
    ``serializer_class`` or the observer's ``serializer``, or ``{"pk": …}``. With
    ``many_to_many``, changes of such fields count as updates.
    """
    return partial(
        ModelObserver,
        model=model,
        serializer_class=serializer_class,
        many_to_many=many_to_many,
    )


class ModelObserver(BaseObserver):
    """The attribute of a consumer class for a handler of a model's changes."""

    def __init__(
        self,
        handler: Callable[..., Any],
        *,
        model: type[Model],
        serializer_class: Any = None,
        many_to_many: bool = False,
    ) -> None:
        super().__init__(handler)
        self.model = model
        self.serializer_class = serializer_class
        self.many_to_many = many_to_many

    def observe(self) -> None:
        """Watch the model."""
        looks_back = self._groups_for_signal is not None
        watch(self.model, self._changed, before=self._before if looks_back else None)

    @property
    def serializes(self) -> bool:
        """Return whether events contain more than the primary key."""
        return self._serializer is not None or self.serializer_class is not None

    def serialize(self, instance: Any, action: Action, **kwargs: Any) -> Any:
        """Return the message for the handlers."""
        if self._serializer is not None:
            return plain_body(self._serializer(self, instance, action, **kwargs))
        if self.serializer_class is not None:
            return self.serializer_class(instance).data
        return {"pk": instance.pk}

    # --- In the process that makes the change

    def _before(self, stored: Any) -> BeforeChange:
        return BeforeChange(stored, tuple(self.signal_groups(instance=stored)))

    def _changed(self, change: ModelChange) -> None:
        notice = ChangeNotice.of(change)
        if notice.relation and not self.many_to_many:
            return
        before: BeforeChange | None = change.before
        now = () if change.action == "delete" else self._groups_now(change)
        if before is not None:
            then = before.groups
        elif change.action == "delete":
            then = tuple(self.signal_groups(instance=change.instance))
        else:
            then = now if change.action == "update" else ()
        gone = change.instance if before is None else before.instance
        self._tell(notice, Action.DELETE, [g for g in then if g not in now], gone)
        self._tell(notice, Action.UPDATE, [g for g in now if g in then])
        self._tell(notice, Action.CREATE, [g for g in now if g not in then])

    def _groups_now(self, change: ModelChange) -> tuple[str, ...]:
        instance = change.instance
        if self._groups_for_signal and not _is_as_stored(change):
            instance = change.fresh()
        return () if instance is None else tuple(self.signal_groups(instance=instance))

    def _tell(
        self, notice: ChangeNotice, action: Action, groups: list[str], gone: Any = None
    ) -> None:
        if not groups:
            return
        body = None
        if action is Action.DELETE and self.serializes:
            body = self._body_of_gone(gone)
        message = replace(notice, action=action.value, body=body).pack()
        for group in groups:
            broadcast(self.stream(group), message)

    def _body_of_gone(self, instance: Any) -> Any:
        # Later the row is gone, or the group that it left may not see its new state.
        try:
            return self.serialize(instance, Action.DELETE)
        except Exception:
            logger.exception("%s cannot serialise a deleted object.", self.id)
            metrics.count("failed")
            return {"pk": plain(instance.pk)}

    # --- In the processes that run the handlers

    async def events(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> list[ObservedEvent | Exception | None]:
        """Return the event in each message; rows are read once for all clients."""
        notices = [self._notice(content) for content in contents]
        bodies: Any
        if self.serializes and any(p and p.action != "delete" for p in notices):
            bodies = await database_sync_to_async(self._bodies)(notices)
        else:
            bodies = self._bodies(notices)
        return [
            ObservedEvent(body, {"action": notice.action})
            if notice and isinstance(body, str)
            else body
            for notice, body in zip(notices, bodies, strict=True)
        ]

    def _notice(self, content: Mapping[str, Any]) -> ChangeNotice | None:
        try:
            return ChangeNotice.unpack(content)
        except Unreadable as problem:
            drop("events of observers", problem)
            return None

    def _bodies(
        self, notices: Sequence[ChangeNotice | None]
    ) -> list[str | Exception | None]:
        return [self._attempt(notice) if notice else None for notice in notices]

    def _attempt(self, notice: ChangeNotice) -> str | Exception | None:
        try:
            return self._body(notice)
        except Exception as error:
            return error

    def _body(self, notice: ChangeNotice) -> str | None:
        if notice.body is not None:
            return encode(notice.body)
        if not self.serializes:
            return encode({"pk": notice.pk})
        instance = notice.read()
        if instance is None:
            return None  # deleted meanwhile; there is a message about that as well
        return encode(self.serialize(instance, Action(notice.action)))


def _is_as_stored(change: ModelChange) -> bool:
    if change.update_fields is not None:
        return False
    values = vars(change.instance).values()
    return not any(hasattr(value, "resolve_expression") for value in values)
