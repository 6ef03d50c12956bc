"""
Observing a list: objects that enter a filter, change in it, and leave it.

::

    → {"action": "subscribe_list", "request_id": 7, "query": {"room": 3},
       "snapshot": true}
    ← {"action": "subscribe_list", "errors": [], "response_status": 201,
       "request_id": 7, "data": [{"id": 1, "room": 3}], "position": "k3:8"}
    ← {"action": "create", "errors": [], "response_status": 201, "request_id": 7,
       "data": {"id": 2, "room": 3}, "position": "k3:9"}
    ← {"action": "delete", "errors": [], "response_status": 204, "request_id": 7,
       "data": {"pk": 1}, "position": "k3:10"}

Clients with the same filter share the work: each change of the model takes one query
per filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import router

from turbo.delivery.topic import Arrival
from turbo.observers.actions import action
from turbo.observers.connection.after_reply import Answer
from turbo.observers.events.observed_models import observe_lists, observes_lists
from turbo.observers.events.row_subscription import RowSubscription
from turbo.observers.events.shared_query import ListQuery
from turbo.observers.events.stand_in_client import NotShared
from turbo.observers.events.subscribing import (
    WantedRows,
    call_of,
    model_of,
    require_observed,
    subscribe_to_rows,
)
from turbo.observers.wire.notice import model_stream
from turbo.observers.wire.replies import encode
from turbo.observers.wire.requests import Call
from turbo.runtime.threads import database_sync_to_async

if TYPE_CHECKING:
    from turbo.observers.generics import GenericAsyncAPIConsumer as Base
else:
    Base = object

__all__ = ["ObserverModelListMixin"]


class ObserverModelListMixin(Base):
    """
    ``subscribe_list`` and ``unsubscribe_list``.

    The filter is that of ``list``: the consumer's queryset and ``filter_backends``.
    Pages are ignored: there are events for all objects that match the filter.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if (model := model_of(cls)) is not None:
            observe_lists(model, cls)

    @action()
    async def subscribe_list(self, request_id: Any = None, **kwargs: Any) -> Answer:
        """
        Send the changes of the list from now on.

        With ``"snapshot": true`` the answer contains the data of ``list`` and the
        ``position`` of the changes. With ``"since": position`` it contains the data
        only if the client has missed a change.
        """
        kwargs.pop("action", None)
        call = call_of("subscribe_list", request_id, kwargs)
        place = await database_sync_to_async(_place)(self, call)
        key = "list", encode(request_id)
        self.subscriptions.drop(key)
        subscription, arrival = await subscribe_to_rows(self, call, place, key=key)
        try:
            subscription.hold("lists")
            return await _welcome(subscription, arrival)
        except Exception:
            self.subscriptions.discard(subscription)
            raise

    @action()
    async def unsubscribe_list(
        self, request_id: Any = None, **kwargs: Any
    ) -> tuple[None, int]:
        """Send no more changes of the list to which this request id subscribed."""
        self.subscriptions.drop(("list", encode(request_id)))
        return None, 204


def _place(consumer: Any, call: Call) -> WantedRows:
    queryset = consumer.get_queryset(action="list", **call.wanted)
    model = queryset.model._meta.concrete_model
    require_observed(type(consumer), observed=observes_lists(model))
    using = queryset._db or router.db_for_write(model)
    query = ListQuery(consumer, call.wanted, model=model, using=using)
    return WantedRows(model_stream(model, using), query)


async def _welcome(subscription: RowSubscription, arrival: Arrival) -> Answer:
    await _count(subscription)
    subscription.hold_rows()
    since = subscription.call.arguments.get("since")
    if not subscription.wants_position:
        return Answer(None, 201)
    extra: dict[str, Any] = {"position": arrival.position}
    missed = not arrival.recovered or bool(arrival.frames)
    if since:
        extra["recovered"] = not missed
    data = None
    if missed or not since:
        read = database_sync_to_async(_query_of(subscription).snapshot)
        data = await read(subscription.consumer, subscription.call.wanted)
        subscription.forget(arrival)
    return Answer(data, 201, extra=extra)


async def _count(subscription: RowSubscription) -> None:
    """Read which rows are in the list, unless the query knows them."""
    query = _query_of(subscription)
    async with query.lock:
        if query.counted:
            return
        try:
            await database_sync_to_async(query.count)(subscription.consumer)
            return
        except NotShared:
            subscription.take_own_query()
    await _count(subscription)


def _query_of(subscription: RowSubscription) -> ListQuery:
    """Return the query of a subscription to a list."""
    assert isinstance(subscription.query, ListQuery)
    return subscription.query
