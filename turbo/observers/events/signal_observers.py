"""
Observing signals.

::

    class LogInConsumer(AsyncAPIConsumer):
        async def accept(self, **kwargs):
            await self.handle_log_in.subscribe()
            await super().accept(**kwargs)

        @observer(user_logged_in)
        async def handle_log_in(self, message, observer=None, **kwargs):
            await self.send_json(message)

        @handle_log_in.serializer
        def handle_log_in(self, sender, user, **kwargs):
            return {"logged_in": user.pk}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django.dispatch import Signal

from turbo import metrics
from turbo.changes.transaction import Outcome, after_transactions
from turbo.delivery.broadcast import broadcast
from turbo.delivery.unreadable import drop
from turbo.observers.events.handlers import BaseObserver, ObservedEvent, plain_body
from turbo.observers.wire.notice import this_moment
from turbo.observers.wire.replies import encode
from turbo.runtime.context import suppressed

__all__ = ["Observer", "observer"]

logger = logging.getLogger("turbo.observers")


def observer(signal: Signal, **kwargs: Any) -> Callable[[Callable[..., Any]], Observer]:
    """
    Call a handler of each subscribed consumer, in all processes, for a signal.

    ``kwargs``, such as ``sender``, are passed to ``signal.connect()``. For a signal
    that is sent in a transaction, the handlers are called after the commit.
    """
    return partial(Observer, signal=signal, connect=kwargs)


class Observer(BaseObserver):
    """The attribute of a consumer class for a handler of a signal."""

    def __init__(
        self, handler: Callable[..., Any], *, signal: Signal, connect: dict[str, Any]
    ) -> None:
        super().__init__(handler)
        self.signal = signal
        self._connect = connect

    def observe(self) -> None:
        """Receive the signal."""
        self.signal.connect(
            self._receive,
            weak=False,
            dispatch_uid=f"turbo.observers:{self.id}",
            **self._connect,
        )

    def serialize(self, **kwargs: Any) -> Any:
        """Return the message for the handlers."""
        return plain_body(self._serializer(self, **kwargs)) if self._serializer else {}

    async def events(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> list[ObservedEvent | Exception | None]:
        """Return the event in each message."""
        return [self._event(content) for content in contents]

    def _event(self, content: Mapping[str, Any]) -> ObservedEvent | None:
        if "body" in content:
            return ObservedEvent(encode(content["body"]), {})
        drop("events of observers", f"{content!r:.200}")
        return None

    def _receive(self, **kwargs: Any) -> None:
        if suppressed():
            return
        try:
            body = json.loads(encode(self.serialize(**kwargs)))
            groups = self.signal_groups(**{**kwargs, "message": body})
            streams = [self.stream(group) for group in groups]
            after_transactions(partial(self._send, streams, body))
        except Exception:
            logger.exception("%s cannot send a signal to clients.", self.id)
            metrics.count("failed")

    def _send(self, streams: Sequence[str], body: Any, outcome: Outcome) -> None:
        if outcome == "rolled back":
            return
        message = encode({"body": body, "origin": this_moment()})
        for stream in streams:
            broadcast(stream, message)
