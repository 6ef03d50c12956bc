"""Subscribe clients to rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import ValidationError

from turbo.delivery.topic import Arrival
from turbo.exceptions import ConfigurationError
from turbo.observers.connection.after_reply import after_answer
from turbo.observers.connection.worker import worker_for
from turbo.observers.events.deliver import RowWorker
from turbo.observers.events.row_subscription import RowSubscription
from turbo.observers.events.shared_query import SharedQuery
from turbo.observers.wire.requests import Call

__all__ = [
    "WantedRows",
    "call_of",
    "model_of",
    "require_observed",
    "subscribe_to_rows",
]

MAX_SINCE = 255


@dataclass(frozen=True, slots=True)
class WantedRows:
    """The rows that a client wants; an equal query that exists is used instead."""

    name: str
    query: SharedQuery


async def subscribe_to_rows(
    consumer: Any, call: Call, place: WantedRows, *, key: Hashable
) -> tuple[RowSubscription, Arrival]:
    """Subscribe a client; its events are held back until the answer has been sent."""
    consumer.subscriptions.check_room()
    worker = worker_for(("rows", place.name), RowWorker)
    query = worker.queries.setdefault((type(place.query), place.query.key), place.query)
    subscription = RowSubscription(
        place.name, query=query, worker=worker, consumer=consumer, call=call
    )
    arrival = await subscription.start(call.arguments.get("since") or "")
    await consumer.hold(key, subscription)
    after_answer(subscription.release)
    return subscription, arrival


def call_of(action: str, request_id: Any, arguments: Mapping[str, Any]) -> Call:
    """Return the call of a subscription; raise ``ValidationError`` if it is invalid."""
    if request_id is None:
        raise ValidationError({"request_id": ["This field is required."]})
    since = arguments.get("since")
    if since is not None and not (isinstance(since, str) and len(since) <= MAX_SINCE):
        raise ValidationError({"since": ["A position is expected."]})
    return Call(action, request_id, arguments)


def model_of(cls: Any) -> Any:
    """Return the model of a consumer class, or ``None`` if it names none."""
    if cls.queryset is not None:
        return cls.queryset.model
    meta = getattr(cls.serializer_class, "Meta", None)
    return getattr(meta, "model", None)


def require_observed(cls: type, *, observed: bool) -> None:
    """Raise :exc:`ConfigurationError` if the consumer's model is not observed."""
    if not observed:
        raise ConfigurationError(
            f"{cls.__qualname__} names no model, so its changes cannot be observed. "
            f"Set queryset, or set serializer_class to a class with Meta.model."
        )
