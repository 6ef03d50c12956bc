"""
What all observers have in common: they call methods of consumers for events.

The decorator puts an observer in the place of the handler in its class. A consumer
subscribes to it like this::

    await self.comment_activity.subscribe(room=3, request_id=request_id)
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, overload

from rest_framework.exceptions import APIException
from rest_framework.serializers import BaseSerializer

from turbo.conf import get_settings
from turbo.exceptions import ConfigurationError
from turbo.observers.connection.after_reply import after_answer, current_call
from turbo.observers.connection.subscriptions import Subscription
from turbo.observers.connection.worker import Delivery, Worker, worker_for
from turbo.observers.events.observed_models import HOME
from turbo.observers.wire.notice import Received
from turbo.observers.wire.replies import TooMany, encode
from turbo.observers.wire.requests import Call
from turbo.runtime.discovery import declared
from turbo.runtime.failures import log_failure
from turbo.runtime.namespaces import in_namespace

__all__ = ["BaseObserver", "MissedEvents", "ObservedEvent", "plain_body"]


class MissedEvents(APIException):
    """Events of an observer were lost; its handler cannot be called for them."""

    status_code = 410
    default_detail = "Events may have been missed. Fetch the data anew."
    default_code = "missed"


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    """An event for handlers. The body is JSON text, so each gets a copy of its own."""

    body: str
    arguments: dict[str, Any]


class BaseObserver:
    """The attribute of a consumer class in the place of a handler."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        if not inspect.iscoroutinefunction(handler):
            raise ConfigurationError(
                f"{handler.__qualname__}() is called for events, so it must be a "
                f"coroutine: write async def."
            )
        self.handler = handler
        #: The handler's name, once its class has been defined.
        self.name = ""
        self.id = f"{handler.__module__}.{handler.__qualname__}"
        self._serializer: Callable[..., Any] | None = None
        self._groups_for_signal: Callable[..., Iterable[str]] | None = None
        self._groups_for_consumer: Callable[..., Iterable[str]] | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        # The method of a decorator, such as serializer(), may be another attribute.
        if not self.name:
            declared(owner, HOME)
            self.name = name
            self.id = f"{owner.__module__}.{owner.__qualname__}.{name}"
            self.observe()

    def observe(self) -> None:
        """Begin to observe; the class has been defined."""
        raise NotImplementedError

    @overload
    def __get__(self, consumer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, consumer: Any, owner: type) -> BoundObserver: ...
    def __get__(self, consumer: Any, owner: type) -> Self | BoundObserver:
        return self if consumer is None else BoundObserver(self, consumer)

    # --- Decorators

    def serializer(self, function: Callable[..., Any]) -> Self:
        """Use ``function(self, instance, action, …)`` to make the body of events."""
        self._serializer = function
        return self

    def groups_for_signal(self, function: Callable[..., Iterable[str]]) -> Self:
        """Use ``function(self, instance, …)`` to choose the groups of an event."""
        self._groups_for_signal = function
        return self

    def groups_for_consumer(self, function: Callable[..., Iterable[str]]) -> Self:
        """Use ``function(self, consumer, …)`` to choose groups to subscribe to."""
        self._groups_for_consumer = function
        return self

    def groups(self, function: Callable[..., Iterable[str]]) -> Self:
        """Use one function for both kinds of groups."""
        return self.groups_for_signal(function).groups_for_consumer(function)

    # --- Subscribe through the class: C.handler.subscribe(consumer)

    async def subscribe(
        self, consumer: Any, *args: Any, request_id: Any = None, **kwargs: Any
    ) -> list[str]:
        """Call the handler of ``consumer`` for events from now on."""
        bound = BoundObserver(self, consumer)
        return await bound.subscribe(*args, request_id=request_id, **kwargs)

    async def unsubscribe(
        self, consumer: Any, *args: Any, request_id: Any = None, **kwargs: Any
    ) -> list[str]:
        """End what :meth:`subscribe` began."""
        bound = BoundObserver(self, consumer)
        return await bound.unsubscribe(*args, request_id=request_id, **kwargs)

    # --- Groups and streams

    def signal_groups(self, **kwargs: Any) -> list[str]:
        """Return the groups that an event is for."""
        if self._groups_for_signal is None:
            return [""]
        return list(dict.fromkeys(self._groups_for_signal(self, **kwargs) or ()))

    def consumer_groups(self, consumer: Any, *args: Any, **kwargs: Any) -> list[str]:
        """Return the groups that a consumer wants to subscribe to."""
        if self._groups_for_consumer is None:
            return [""]
        groups = self._groups_for_consumer(self, *args, consumer=consumer, **kwargs)
        return list(dict.fromkeys(groups or ()))

    def stream(self, group: str) -> str:
        """Return the name of the stream that carries a group's events."""
        return in_namespace(f"observers:{self.id}:{group}")

    async def events(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> list[ObservedEvent | Exception | None]:
        """Return the event in each message, or ``None`` where there is none to send."""
        raise NotImplementedError


class BoundObserver:
    """An observer bound to one consumer."""

    def __init__(self, observer: BaseObserver, consumer: Any) -> None:
        self.observer = observer
        self._consumer = consumer

    async def __call__(self, message: Any, **kwargs: Any) -> None:
        """Call the handler."""
        kwargs.setdefault("observer", self.observer)
        await self.observer.handler(self._consumer, message, **kwargs)

    async def subscribe(
        self, *args: Any, request_id: Any = None, **kwargs: Any
    ) -> list[str]:
        """
        Call the handler for events from now on, and return the groups they come from.

        All other arguments go to ``groups_for_consumer``. The handler gets the ids of
        the requests that subscribed.
        """
        groups = self.observer.consumer_groups(self._consumer, *args, **kwargs)
        for group in groups:
            await self._join(group, request_id)
        return groups

    async def unsubscribe(
        self, *args: Any, request_id: Any = None, **kwargs: Any
    ) -> list[str]:
        """End what one request subscribed to, or without an id what any request did."""
        groups = self.observer.consumer_groups(self._consumer, *args, **kwargs)
        for group in groups:
            self._leave(group, request_id)
        return groups

    async def _join(self, group: str, request_id: Any) -> None:
        subscriptions = self._consumer.subscriptions
        held = subscriptions.get(self._key(group))
        if held is None:
            subscriptions.check_room()
            held = GroupSubscription(self.observer, group, self._consumer)
            await held.start()
            await self._consumer.hold(self._key(group), held)
            after_answer(held.release)
        held.add(request_id)

    def _leave(self, group: str, request_id: Any) -> None:
        held = self._consumer.subscriptions.get(self._key(group))
        if held is not None:
            held.request_ids.pop(encode(request_id), None)
            if request_id is None or not held.request_ids:
                self._consumer.subscriptions.drop(self._key(group))

    def _key(self, group: str) -> tuple[str, str, str]:
        return "group", self.observer.id, group


class GroupSubscription(Subscription):
    """A consumer's subscription to one group of an observer."""

    def __init__(self, observer: BaseObserver, group: str, consumer: Any) -> None:
        super().__init__(
            observer.stream(group),
            worker=worker_for(("group", observer), partial(HandlerWorker, observer)),
            consumer=consumer,
            call=current_call() or Call("connect"),
        )
        self.group = group
        #: The ids of the requests that subscribed, by their JSON.
        self.request_ids: dict[str, Any] = {}

    def add(self, request_id: Any) -> None:
        """Add a request; raise :exc:`TooMany` if there are too many."""
        key, limit = encode(request_id), get_settings().max_streams
        if key not in self.request_ids and len(self.request_ids) >= limit:
            raise TooMany(f"At most {limit} requests have the events of one group.")
        self.request_ids[key] = request_id

    async def why_refused(self) -> Exception | None:
        """Return the error that the client would get if it subscribed now."""
        if self.call.action == "connect":
            return None  # revocations check the whole connection
        return await super().why_refused()

    def call_handler(self, observer: BaseObserver, event: ObservedEvent) -> None:
        """Call the handler in the consumer's turn."""
        ids = [value for value in self.request_ids.values() if value is not None]
        self.consumer.turns.put(
            partial(
                _call,
                observer,
                self.consumer,
                event,
                group=self.group,
                subscribing_request_ids=ids,
            )
        )

    def refuse(self, error: Exception, action: str | None = None) -> None:
        """Send an error to each request."""
        for request_id in self.request_ids.values():
            self.consumer.turns.put(
                partial(
                    self.consumer.handle_exception,
                    error,
                    action=action or self.call.action,
                    request_id=request_id,
                )
            )


class HandlerWorker(Worker):
    """Handle the messages for one observer."""

    def __init__(self, observer: BaseObserver) -> None:
        super().__init__()
        self._observer = observer

    async def handle(self, entries: Sequence[Delivery]) -> None:
        """Make each body once, and call the handler of each subscribed consumer."""
        arrivals = [
            (Received.of(frame), subscriptions) for frame, subscriptions in entries
        ]
        contents = [received.content for received, _ in arrivals if received.content]
        events = iter(await self._observer.events(contents))
        for received, subscriptions in arrivals:
            event = next(events) if received.content else MissedEvents()
            for subscription in subscriptions:
                if subscription.awaits(received):
                    self._tell(subscription, event)

    def _tell(
        self, subscription: GroupSubscription, event: ObservedEvent | Exception | None
    ) -> None:
        if isinstance(event, Exception):
            subscription.refuse(event, "gap")
        elif event is not None:
            subscription.call_handler(self._observer, event)


def plain_body(body: Any) -> Any:
    """Return what a project's ``serializer`` returned; of a serializer, its data."""
    return body.data if isinstance(body, BaseSerializer) else body


async def _call(
    observer: BaseObserver, consumer: Any, event: ObservedEvent, **kwargs: Any
) -> None:
    try:
        await observer.handler(
            consumer,
            json.loads(event.body),
            observer=observer,
            message_type=observer.name.replace("_", "."),
            **event.arguments,
            **kwargs,
        )
    except Exception as error:
        log_failure(f"The handler {observer.id} failed.", error)
