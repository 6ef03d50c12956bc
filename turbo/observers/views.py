"""
What a change looks like to those who see it alike: read once, serialised once.

Clients of one consumer class share a view, unless the class chooses what they see by
user: objects by ``get_queryset()`` and its kin, or their serialisation by
``get_serializer_context()`` and its kin, or a serializer that looks at the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import PermissionDenied, ValidationError

from turbo.observers.envelopes import as_api_exception, encode
from turbo.observers.generics import GenericAsyncAPIConsumer
from turbo.observers.mixins import RetrieveModelMixin
from turbo.observers.options import get_options
from turbo.observers.pointers import Pointer, pk_text, pk_value
from turbo.observers.requests import Call, query_of
from turbo.typing import ChangeAction

__all__ = ["InstanceView", "ListView", "Row", "View", "view_key"]

#: Methods that choose the objects, and those that choose how they are shown.
ROWS = ("filter_queryset", "get_object", "get_queryset")
TEXTS = ("get_serializer", "get_serializer_class", "get_serializer_context")


def _overrides(cls: type, names: Iterable[str]) -> bool:
    """Return whether a consumer class has any of these methods of its own."""
    base = GenericAsyncAPIConsumer
    return any(getattr(cls, name) is not getattr(base, name) for name in names)


def view_key(
    consumer: GenericAsyncAPIConsumer, arguments: Mapping[str, Any]
) -> Hashable:
    """Return what is the same for those who read the same rows."""
    cls = type(consumer)
    own_rows = _overrides(cls, ROWS)
    audience = consumer.get_audience() if own_rows else None
    if own_rows or _overrides(cls, TEXTS):
        return cls, audience, encode(arguments)
    query = query_of(arguments) if cls.filter_backends else {}
    return cls, audience, encode(sorted(query.items()))


@dataclass(slots=True)
class Row:
    """An object that was read, and its JSON by audience; ``None`` is everybody."""

    instance: Any
    texts: dict[Hashable, str] = field(default_factory=dict)

    def text_for(self, audience: Hashable) -> str | None:
        """Return the JSON that an audience is told."""
        return self.texts.get(audience) or self.texts.get(None)


class View:
    """How the rows of one stream look to some subscriptions."""

    def __init__(
        self,
        consumer: GenericAsyncAPIConsumer,
        arguments: Mapping[str, Any],
        *,
        model: type[Model],
        using: str,
    ) -> None:
        self.arguments = arguments
        self.model = model
        self.using = using
        #: Whether an event may be refused to some and not to others.
        self.asks = consumer.asks_per_event()
        self._consumers: dict[GenericAsyncAPIConsumer, int] = {}
        self._personal = _overrides(type(consumer), TEXTS)

    #: The action whose answer the events are like.
    action = "list"
    #: Whether permissions are asked about single objects.
    asks_about_rows = False

    def join(self, consumer: GenericAsyncAPIConsumer) -> None:
        """Count a subscription of ``consumer`` in."""
        self._consumers[consumer] = self._consumers.get(consumer, 0) + 1

    def leave(self, consumer: GenericAsyncAPIConsumer) -> None:
        """Count a subscription of ``consumer`` out."""
        self._consumers[consumer] -= 1
        if not self._consumers[consumer]:
            del self._consumers[consumer]

    def read(
        self,
        pks: Iterable[Any],
        *,
        using: str,
        consumers: Sequence[GenericAsyncAPIConsumer] = (),
    ) -> dict[str, Row]:
        """Read and serialise those rows that can be seen, in one query; for threads."""
        consumers = consumers or list(self._consumers)
        if not consumers:
            return {}
        wanted = [pk_value(self.model, pk) for pk in pks]
        found = self.find(consumers[0], wanted, using=using)
        return {pk_text(row.pk): self._row(row, consumers) for row in found}

    def heeds(self, pointer: Pointer) -> bool:
        """Return whether a change means anything to the clients."""
        return True

    def own_pointer(self) -> Pointer | None:
        """Return where to look when messages are missing; ``None``: at everything."""
        return None

    def audience_of(self, consumer: GenericAsyncAPIConsumer) -> Hashable:
        """Return what a text is known by that this consumer may be told."""
        return consumer.get_audience() if self._personal else None

    def find(
        self, consumer: GenericAsyncAPIConsumer, pks: Sequence[Any], *, using: str
    ) -> Iterable[Any]:
        """Return those of the rows that can be seen."""
        return self.queryset(consumer).using(using).filter(pk__in=pks)

    def queryset(self, consumer: GenericAsyncAPIConsumer) -> QuerySet[Any]:
        """Return all rows that can be seen."""
        queryset = consumer.get_queryset(action=self.action, **self.arguments)
        return consumer.filter_queryset(queryset, action=self.action, **self.arguments)

    async def why_refused(
        self, consumer: GenericAsyncAPIConsumer, call: Call
    ) -> Exception | None:
        """Return why a consumer may not have this view any more, if so."""
        return None

    def data_of(self, row: Row, consumer: GenericAsyncAPIConsumer) -> tuple[Any, bool]:
        """Return a row serialised, and whether the client was looked at for that."""
        serializer = consumer.get_serializer(
            instance=row.instance, action_kwargs=self.arguments
        )
        return serializer.data, consumer.looked

    def _row(self, instance: Any, consumers: Sequence[GenericAsyncAPIConsumer]) -> Row:
        row = Row(instance)
        for consumer in consumers:
            if self.audience_of(consumer) in row.texts:
                continue
            data, looked = self.data_of(row, consumer)
            self._personal = self._personal or looked
            row.texts[self.audience_of(consumer)] = encode(data)
        return row


class InstanceView(View):
    """How one row looks: as the answer to ``retrieve`` does."""

    action = "retrieve"
    asks_about_rows = True

    def __init__(
        self,
        consumer: GenericAsyncAPIConsumer,
        arguments: Mapping[str, Any],
        *,
        pk: Any,
        **given: Any,
    ) -> None:
        super().__init__(consumer, arguments, **given)
        cls: Any = type(consumer)
        self.pk = pk
        self._relations = cls.observer_many_to_many_relationships
        self._own_retrieve = cls.retrieve is not RetrieveModelMixin.retrieve
        self._own_lookup = cls.get_object is not GenericAsyncAPIConsumer.get_object
        self._personal = self._personal or self._own_retrieve

    def heeds(self, pointer: Pointer) -> bool:
        """Return whether a change means anything to the clients."""
        return self._relations or not pointer.relation

    async def why_refused(
        self, consumer: GenericAsyncAPIConsumer, call: Call
    ) -> Exception | None:
        """Return why a consumer may not see the row; that it is gone is no reason."""
        ask = database_sync_to_async(self._why_refused)
        error: Exception | None = await ask(consumer, call)
        return error

    def _why_refused(
        self, consumer: GenericAsyncAPIConsumer, call: Call
    ) -> Exception | None:
        try:
            consumer.get_object(action=call.action, **call.arguments)
        except Http404:
            rows: QuerySet[Any] = self.model._base_manager.using(self.using)
            return PermissionDenied() if rows.filter(pk=self.pk).exists() else None
        except Exception as error:
            return error
        return None

    def own_pointer(self) -> Pointer:
        """Return where to look when messages are missing: at the row."""
        label = self.model._meta.label_lower
        return Pointer(action="update", model=label, pk=self.pk, using=self.using)

    def find(
        self, consumer: GenericAsyncAPIConsumer, pks: Sequence[Any], *, using: str
    ) -> Iterable[Any]:
        """Return the row, if it can be seen."""
        if not self._own_lookup:
            return super().find(consumer, pks, using=using)
        try:
            return [consumer.get_object(action=self.action, **self.arguments)]
        except Exception as error:
            if as_api_exception(error) is None:
                raise
            return []

    def data_of(self, row: Row, consumer: GenericAsyncAPIConsumer) -> tuple[Any, bool]:
        """Return a row serialised."""
        if not self._own_retrieve:
            return super().data_of(row, consumer)
        retrieve: Any = async_to_sync(consumer.retrieve)  # type: ignore[attr-defined]
        data, _ = retrieve(action=self.action, **self.arguments)
        return data, True


class ListView(View):
    """How the rows look that the answer to ``list`` is made of."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        #: Held by who counts the rows for the first time.
        self.lock = asyncio.Lock()
        self._known: set[str] | None = None

    @property
    def counted(self) -> bool:
        """Return whether it is known which rows there are."""
        return self._known is not None

    def count(self, consumer: GenericAsyncAPIConsumer) -> bool:
        """Learn which rows there are, and return whether they changed; for threads."""
        limit = get_options().max_list
        rows = self.queryset(consumer).using(self.using).order_by()
        known = {pk_text(pk) for (pk,) in rows.values_list("pk")[: limit + 1]}
        if len(known) > limit:
            raise ValidationError(
                f"The list has more than {limit} entries. Ask for a part of it."
            )
        changed, self._known = known != self._known, known
        return changed

    def snapshot(self, consumer: GenericAsyncAPIConsumer) -> Any:
        """Return what ``list`` answers; for threads."""
        return consumer.list_data(action=self.action, **self.arguments)

    def read_all(self) -> dict[Hashable, str]:
        """Start over: return what ``list`` answers each audience; for threads."""
        texts: dict[Hashable, str] = {}
        for consumer in list(self._consumers):
            if self.audience_of(consumer) not in texts:
                if not texts:
                    self.count(consumer)
                text = encode(self.snapshot(consumer))
                self._personal = self._personal or consumer.looked
                texts[self.audience_of(consumer)] = text
        return texts

    def judge(self, key: str, *, visible: bool) -> ChangeAction | None:
        """Return what has happened to a row, for those who look at this list."""
        known = self._known = self._known or set()
        was_known = key in known
        if visible:
            known.add(key)
            return "update" if was_known else "create"
        known.discard(key)
        return "delete" if was_known else None
