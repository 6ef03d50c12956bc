"""
Observing one object.

::

    class UserConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
        queryset = User.objects.all()
        serializer_class = UserSerializer

    → {"action": "subscribe_instance", "request_id": 4, "pk": 1}
    ← {"action": "subscribe_instance", "errors": [], "response_status": 201,
       "request_id": 4, "data": null}
    ← {"action": "update", "errors": [], "response_status": 200, "request_id": 4,
       "data": {"id": 1, "username": "ann"}}
    ← {"action": "delete", "errors": [], "response_status": 204, "request_id": 4,
       "data": {"pk": 1}}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import router
from django.db.models import Model
from django.http import Http404
from rest_framework.exceptions import ValidationError

from turbo.delivery.topic import Arrival
from turbo.observers.actions import action
from turbo.observers.connection.after_reply import Answer
from turbo.observers.events.observed_models import observe_instances, observes_instances
from turbo.observers.events.row_subscription import RowSubscription, send_handled
from turbo.observers.events.shared_query import InstanceQuery
from turbo.observers.events.subscribing import (
    WantedRows,
    call_of,
    model_of,
    require_observed,
    subscribe_to_rows,
)
from turbo.observers.mixins import RetrieveModelMixin
from turbo.observers.wire.notice import instance_stream, key_of
from turbo.observers.wire.replies import encode
from turbo.observers.wire.requests import Call
from turbo.runtime.threads import database_sync_to_async

if TYPE_CHECKING:
    from turbo.observers.generics import GenericAsyncAPIConsumer as Base
else:
    Base = object

__all__ = ["ObserverModelInstanceMixin"]


class ObserverModelInstanceMixin(RetrieveModelMixin, Base):
    """
    ``subscribe_instance`` and ``unsubscribe_instance``.

    An event shows the object like ``retrieve``. If an object leaves the consumer's
    queryset, clients get ``delete``; if it comes back, they get ``create``.
    """

    #: Whether changes of many-to-many fields count as updates of the object.
    observer_many_to_many_relationships = False
    #: Whether the class overrides handle_observed_action().
    handles_observed_actions: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.handles_observed_actions = (
            cls.handle_observed_action
            is not ObserverModelInstanceMixin.handle_observed_action
        )
        if (model := model_of(cls)) is not None:
            observe_instances(model, cls)

    @property
    def handle_instance_change(self) -> InstanceChanges:
        """Return an object that subscribes to an instance without a client's action."""
        return InstanceChanges(self)

    async def handle_observed_action(
        self, action: str, group: str | None = None, **kwargs: Any
    ) -> None:
        """
        Send the event of an instance to the client.

        Override it to do something else: it is called with the ``action`` and the
        ``pk``, once for each request that subscribed, in the turn of the consumer.
        """
        if not send_handled(action):
            raise RuntimeError(
                "handle_observed_action() sends the event that the library calls it "
                "for. Elsewhere, send with reply()."
            )

    @action()
    async def subscribe_instance(self, request_id: Any = None, **kwargs: Any) -> Answer:
        """
        Send the object's changes from now on.

        With ``"snapshot": true`` the answer contains the object and the ``position`` of
        its changes. With ``"since": position`` the client gets the changes that it
        missed, or the object again. If the object is gone, or the client may not see
        it, the answer is 404, regardless of ``since``.
        """
        kwargs.pop("action", None)
        call = call_of("subscribe_instance", request_id, kwargs)
        place = await database_sync_to_async(_find)(self, call)
        subscription, arrival = await _subscribe(self, call, place)
        return await _welcome(subscription, arrival)

    @action()
    async def unsubscribe_instance(
        self, request_id: Any = None, **kwargs: Any
    ) -> tuple[None, int]:
        """
        Send no more changes of the object, which may be gone.

        End the subscription with this request id. If there is none, end all
        subscriptions to the object. If there are none either, and the client cannot see
        such an object, the answer is 404.
        """
        key = self.lookup_url_kwarg or self.lookup_field
        if key not in kwargs and request_id is None:
            raise ValidationError({key: ["This field is required."]})
        if not _leave(self, request_id, kwargs.get(key)) and key in kwargs:
            await database_sync_to_async(self.get_object)(**kwargs)
        return None, 204


class InstanceChanges:
    """Subscribe one consumer to instances, from its own code."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def subscribe(self, *, instance: Model, request_id: Any = None) -> None:
        """Send the changes of ``instance``; the caller has checked permissions."""
        call = Call("subscribe_instance", request_id, self._lookup(instance))
        place = await database_sync_to_async(_place)(self._consumer, call, instance)
        await _subscribe(self._consumer, call, place)

    async def unsubscribe(self, *, instance: Model, request_id: Any = None) -> None:
        """Send no more changes of ``instance``."""
        [value] = self._lookup(instance).values()
        _leave(self._consumer, request_id, value)

    def _lookup(self, instance: Model) -> dict[str, Any]:
        field = self._consumer.lookup_field
        key = self._consumer.lookup_url_kwarg or field
        return {key: getattr(instance, field)}


def _find(consumer: Any, call: Call) -> WantedRows:
    """Look the object up as ``retrieve`` does; call this in a thread only."""
    instance = consumer.get_object(
        action=call.action, request_id=call.request_id, **call.arguments
    )
    return _place(consumer, call, instance)


def _place(consumer: Any, call: Call, instance: Model) -> WantedRows:
    model = type(instance)._meta.concrete_model or type(instance)
    require_observed(type(consumer), observed=observes_instances(model))
    using = router.db_for_write(model, instance=instance)
    pk = instance.pk
    query = InstanceQuery(consumer, call.wanted, model=model, using=using, pk=pk)
    return WantedRows(instance_stream(model, pk, using), query)


async def _subscribe(
    consumer: Any, call: Call, place: WantedRows
) -> tuple[RowSubscription, Arrival]:
    key = "instance", encode(call.request_id), place.name
    return await subscribe_to_rows(consumer, call, place, key=key)


async def _welcome(subscription: RowSubscription, arrival: Arrival) -> Answer:
    """Return the answer, with the object if the client wants it or missed events."""
    since = subscription.call.arguments.get("since")
    if not subscription.wants_position:
        return Answer(None, 201)
    extra: dict[str, Any] = {"position": arrival.position}
    if since:
        extra["recovered"] = arrival.recovered
    data = None
    if not since or not arrival.recovered:
        data = await _snapshot(subscription)
    return Answer(data, 201, extra=extra)


async def _snapshot(subscription: RowSubscription) -> Any:
    query = subscription.query
    assert isinstance(query, InstanceQuery)
    read = database_sync_to_async(query.read)
    rows = await read([query.pk], using=query.using, consumers=[subscription.consumer])
    row = rows.get(key_of(query.pk))
    text = row and row.text_for(query.audience_of(subscription.consumer))
    if not text:
        subscription.consumer.subscriptions.discard(subscription)
        raise Http404
    return json.loads(text)


def _leave(consumer: Any, request_id: Any, value: Any) -> bool:
    """End subscriptions; return whether there were any."""
    subscriptions = [
        subscription
        for subscription in consumer.subscriptions
        if _is_of(subscription, value)
    ]
    named = [
        subscription
        for subscription in subscriptions
        if subscription.call.request_id == request_id
    ]
    ended = named or (subscriptions if value is not None else [])
    for subscription in ended:
        consumer.subscriptions.discard(subscription)
    return bool(ended)


def _is_of(subscription: Any, value: Any) -> bool:
    """Return whether a subscription is to the object that ``value`` names."""
    if not isinstance(getattr(subscription, "query", None), InstanceQuery):
        return False
    if value is None:
        return True
    key = subscription.consumer.lookup_url_kwarg or subscription.consumer.lookup_field
    given = subscription.call.arguments.get(key)
    return str(given) == str(value) or encode(given) == encode(value)
