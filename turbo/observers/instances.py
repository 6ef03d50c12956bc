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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import router
from django.db.models import Model
from django.http import Http404
from rest_framework.exceptions import ValidationError

from turbo.observers.actions import action
from turbo.observers.answers import Answer
from turbo.observers.desks import desk_for
from turbo.observers.envelopes import encode
from turbo.observers.mixins import RetrieveModelMixin
from turbo.observers.pointers import instance_stream, pk_text
from turbo.observers.requests import Call, check_since
from turbo.observers.rows import RowDesk
from turbo.observers.seats import Seat
from turbo.observers.sources import observe_instances
from turbo.observers.views import InstanceView, view_key

if TYPE_CHECKING:
    from turbo.observers.generics import GenericAsyncAPIConsumer as Base
else:
    Base = object

__all__ = ["ObserverModelInstanceMixin"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a client wants to observe."""

    name: str
    key: Any
    view: InstanceView


class InstanceChanges:
    """``consumer.handle_instance_change``: subscribing by a call of one's own."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    async def subscribe(self, *, instance: Model, request_id: Any = None) -> None:
        """Send the changes of ``instance``, which the caller has found permissible."""
        lookup = self._consumer.lookup_field
        value = instance.pk if lookup == "pk" else getattr(instance, lookup)
        key = self._consumer.lookup_url_kwarg or lookup
        call = Call("subscribe_instance", request_id, {key: value})
        target = await database_sync_to_async(_target)(self._consumer, call, instance)
        await _take_seat(self._consumer, call, target)

    async def unsubscribe(self, *, instance: Model, request_id: Any = None) -> None:
        """Send no more changes of ``instance``."""
        _leave(self._consumer, request_id, pk=pk_text(instance.pk))


class ObserverModelInstanceMixin(RetrieveModelMixin, Base):
    """
    ``subscribe_instance`` and ``unsubscribe_instance``.

    An event shows the object as ``retrieve`` does. An object that leaves the consumer's
    queryset is deleted as far as its clients are concerned, and created when it is back.
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
    async def subscribe_instance(
        self, request_id: Any = None, snapshot: Any = False, since: Any = None, **kwargs: Any
    ) -> Answer:
        """
        Send the object's changes from now on.

        With ``"snapshot": true`` the answer holds the object, and ``position`` says
        where its changes stand. With ``"since": position`` the client is sent what it
        missed, or the object anew.
        """
        if request_id is None:
            raise ValidationError({"request_id": ["This field is required."]})
        check_since(since)
        self.subscriptions.check_room()
        arguments = {**kwargs, "snapshot": bool(snapshot), "since": since}
        call = Call("subscribe_instance", request_id, arguments)
        generation = self.generation
        target = await database_sync_to_async(_find)(self, call)
        seat = await _take_seat(self, call, target, since=since or "")
        if generation != self.generation:
            self.subscriptions.discard(seat)
            raise Unavailable
        return await _welcome(self, seat, snapshot=bool(snapshot), since=since)

    @action()
    async def unsubscribe_instance(
        self, request_id: Any = None, **kwargs: Any
    ) -> tuple[None, int]:
        """
        Send no more changes of the object, which may be gone.

        Ends the subscription with this request's id; if there is none, all of the object.
        """
        key = self.lookup_url_kwarg or self.lookup_field
        if key not in kwargs and request_id is None:
            raise ValidationError({key: ["This field is required."]})
        given = encode(kwargs[key]) if key in kwargs else None
        _leave(self, request_id, given=given)
        return None, 204
