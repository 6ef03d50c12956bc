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
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async
from django.db import router
from django.db.models import Model
from django.http import Http404
from rest_framework.exceptions import ValidationError

from turbo.delivery.topic import Arrival
from turbo.observers.actions import action
from turbo.observers.connection.after_reply import Answer
from turbo.observers.events.row_subscription import Seat
from turbo.observers.events.shared_query import InstanceView
from turbo.observers.events.subscribing import (
    Place,
    call_of,
    model_of,
    require_observed,
    take_seat,
)
from turbo.observers.events.watched import observe_instances, observes_instances
from turbo.observers.mixins import RetrieveModelMixin
from turbo.observers.wire.notice import instance_stream, pk_text
from turbo.observers.wire.replies import encode
from turbo.observers.wire.requests import Call

if TYPE_CHECKING:
    from turbo.observers.generics import GenericAsyncAPIConsumer as Base
else:
    Base = object

__all__ = ["ObserverModelInstanceMixin"]


class ObserverModelInstanceMixin(RetrieveModelMixin, Base):
    """
    ``subscribe_instance`` and ``unsubscribe_instance``.

    An event shows the object as ``retrieve`` does. One that leaves the consumer's
    queryset is deleted as far as its clients are concerned, and created when it comes
    back.
    """

    #: Whether changes of many-to-many fields are updates of the object.
    observer_many_to_many_relationships = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if (model := model_of(cls)) is not None:
            observe_instances(model)

    @property
    def handle_instance_change(self) -> InstanceChanges:
        """Return what subscribes to an instance without an action of the client."""
        return InstanceChanges(self)

    @action()
    async def subscribe_instance(self, request_id: Any = None, **kwargs: Any) -> Answer:
        """
        Send the object's changes from now on.

        With ``"snapshot": true`` the answer holds the object, and ``position`` says
        where its changes stand. With ``"since": position`` the client is sent what it
        missed, or the object anew. An object that is gone, or that the client may not
        see, is not found, whatever ``since`` says.
        """
        kwargs.pop("action", None)
        call = call_of("subscribe_instance", request_id, kwargs)
        place = await database_sync_to_async(_find)(self, call)
        seat, arrival = await _sit_down(self, call, place)
        return await _welcome(seat, arrival)

    @action()
    async def unsubscribe_instance(
        self, request_id: Any = None, **kwargs: Any
    ) -> tuple[None, int]:
        """
        Send no more changes of the object, which may be gone.

        Ends the subscription with this request's id, or all of the object if there is
        none.
        """
        key = self.lookup_url_kwarg or self.lookup_field
        if key not in kwargs and request_id is None:
            raise ValidationError({key: ["This field is required."]})
        _leave(self, request_id, kwargs.get(key))
        return None, 204


class InstanceChanges:
    """Subscribing one consumer to an instance, by a call of one's own."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def subscribe(self, *, instance: Model, request_id: Any = None) -> None:
        """Send the changes of ``instance``; the caller has checked permissions."""
        call = Call("subscribe_instance", request_id, self._lookup(instance))
        place = await database_sync_to_async(_place)(self._consumer, call, instance)
        await _sit_down(self._consumer, call, place)

    async def unsubscribe(self, *, instance: Model, request_id: Any = None) -> None:
        """Send no more changes of ``instance``."""
        [value] = self._lookup(instance).values()
        _leave(self._consumer, request_id, value)

    def _lookup(self, instance: Model) -> dict[str, Any]:
        field = self._consumer.lookup_field
        key = self._consumer.lookup_url_kwarg or field
        return {key: getattr(instance, field)}


def _find(consumer: Any, call: Call) -> Place:
    """Look the object up, as ``retrieve`` does; for threads."""
    instance = consumer.get_object(
        action=call.action, request_id=call.request_id, **call.arguments
    )
    return _place(consumer, call, instance)


def _place(consumer: Any, call: Call, instance: Model) -> Place:
    model = type(instance)._meta.concrete_model or type(instance)
    require_observed(type(consumer), observed=observes_instances(model))
    using = router.db_for_write(model, instance=instance)
    pk = instance.pk
    view = InstanceView(consumer, call.wanted, model=model, using=using, pk=pk)
    return Place(instance_stream(model, pk, using), view)


async def _sit_down(consumer: Any, call: Call, place: Place) -> tuple[Seat, Arrival]:
    key = "instance", encode(call.request_id), place.name
    return await take_seat(consumer, call, place, key=key)


async def _welcome(seat: Seat, arrival: Arrival) -> Answer:
    """Return the answer: an object if the client wants it, or cannot do without."""
    since = seat.call.arguments.get("since")
    if not seat.wants_position:
        return Answer(None, 201)
    extra: dict[str, Any] = {"position": arrival.position}
    if since:
        extra["recovered"] = arrival.recovered
    data = None
    if not since or not arrival.recovered:
        data = await _snapshot(seat)
    return Answer(data, 201, extra=extra)


async def _snapshot(seat: Seat) -> Any:
    view = seat.view
    assert isinstance(view, InstanceView)
    read = database_sync_to_async(view.read)
    rows = await read([view.pk], using=view.using, consumers=[seat.consumer])
    row = rows.get(pk_text(view.pk))
    text = row and row.text_for(view.audience_of(seat.consumer))
    if not text:
        seat.consumer.subscriptions.discard(seat)
        raise Http404
    return json.loads(text)


def _leave(consumer: Any, request_id: Any, value: Any) -> None:
    seats = [seat for seat in consumer.subscriptions if _is_of(seat, value)]
    named = [seat for seat in seats if seat.call.request_id == request_id]
    for seat in named or (seats if value is not None else []):
        consumer.subscriptions.discard(seat)


def _is_of(seat: Any, value: Any) -> bool:
    """Return whether a subscription is one to the object that ``value`` names."""
    if not isinstance(getattr(seat, "view", None), InstanceView):
        return False
    if value is None:
        return True
    key = seat.consumer.lookup_url_kwarg or seat.consumer.lookup_field
    given = seat.call.arguments.get(key)
    return str(given) == str(value) or encode(given) == encode(value)
