"""
What a change looks like to those who see it alike: read once, serialised once.

Clients share what cannot depend on any of them: the rows, if the class has no methods
of its own for choosing them and no filter backend has looked for the client; their
serialisation, if that holds for the serializer too.
:mod:`turbo.observers.events.stand_in_client` finds that out. Everybody else is served
alone, or with their audience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

from asgiref.sync import async_to_sync
from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import PermissionDenied, ValidationError

from turbo.changes.rows import pk_value
from turbo.observers.asking_in_turn import in_turn_of
from turbo.observers.conf import get_observer_settings
from turbo.observers.events.stand_in_client import Impersonal, NotShared
from turbo.observers.generics import GenericAsyncAPIConsumer
from turbo.observers.mixins import RetrieveModelMixin
from turbo.observers.wire.notice import ChangeNotice, key_of
from turbo.observers.wire.replies import as_api_exception, encode
from turbo.observers.wire.requests import Call
from turbo.typing import ChangeAction

__all__ = ["InstanceQuery", "ListQuery", "ReadRow", "SharedQuery"]

#: Methods that choose the objects, and those that choose how they are shown.
ROWS = ("filter_queryset", "get_object", "get_queryset", "list_data")
TEXTS = ("get_serializer", "get_serializer_class", "get_serializer_context")


def _overrides(consumer: Any, names: Iterable[str]) -> bool:
    """Return whether a consumer or its class has any of these methods of its own."""
    base, cls = GenericAsyncAPIConsumer, type(consumer)
    return any(
        getattr(cls, name) is not getattr(base, name) or name in vars(consumer)
        for name in names
    )


@dataclass(slots=True)
class ReadRow:
    """An object that was read, and its JSON by audience; ``None`` is everybody."""

    instance: Any
    texts: dict[Hashable, str] = field(default_factory=dict)

    def text_for(self, audience: Hashable) -> str | None:
        """Return the JSON that an audience is told."""
        return self.texts.get(audience) or self.texts.get(None)


class SharedQuery:
    """How the rows of one stream look to some subscriptions."""

    #: The action whose answer the events are like.
    action = "list"

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
        self.shares_texts = not self.owns_texts(consumer)
        self._consumers: dict[GenericAsyncAPIConsumer, int] = {}
        #: Parameters of the query that the rows may depend on.
        self._parameters: set[str] | None = set()
        self.shares_rows = True
        self.key = self._key(consumer)

    def owns_texts(self, consumer: GenericAsyncAPIConsumer) -> bool:
        """Return whether the class has methods that choose how objects are shown."""
        return _overrides(consumer, TEXTS)

    def _key(self, consumer: GenericAsyncAPIConsumer) -> Hashable:
        """Return what is the same for those who may have this query together."""
        run = Impersonal(consumer, self.arguments, action=self.action)
        try:
            if _overrides(consumer, ROWS):
                raise NotShared
            run.run(run.queryset)
        except Exception:  # one that the client is to know of is raised again, later
            self.shares_rows = False
            return type(consumer), consumer.get_audience(), encode(self.arguments)
        self._parameters = run.parameters
        given = run.significant() if self.shares_texts else encode(self.arguments)
        return type(consumer), None, given

    @property
    def size(self) -> int:
        """Return the number of rows that are remembered."""
        return 0

    def join(self, consumer: GenericAsyncAPIConsumer) -> None:
        """Count a subscription of ``consumer`` in."""
        self._consumers[consumer] = self._consumers.get(consumer, 0) + 1

    def leave(self, consumer: GenericAsyncAPIConsumer) -> None:
        """Count a subscription of ``consumer`` out."""
        self._consumers[consumer] -= 1
        if not self._consumers[consumer]:
            del self._consumers[consumer]

    def for_one(self, arguments: Mapping[str, Any]) -> Self:
        """Return the same query for one client, as far as it has been told."""
        own = copy(self)
        own.arguments = arguments
        own.shares_rows = False
        own._consumers = {}
        return own

    def read(
        self,
        pks: Iterable[Any],
        *,
        using: str,
        consumers: Sequence[GenericAsyncAPIConsumer] = (),
    ) -> dict[str, ReadRow]:
        """
        Read and serialise those rows that can be seen, in one query; for threads.

        Raises :exc:`NotShared` when that has come to depend on the client.
        """
        consumers = consumers or list(self._consumers)
        if not consumers:
            return {}
        wanted = [pk_value(self.model, pk) for pk in pks]
        found = self.find(consumers, wanted, using=using)
        return {key_of(row.pk): self._serialise_once(row, consumers) for row in found}

    @property
    def owner(self) -> Hashable:
        """Return the user for whom alone the rows are read; ``None`` if for several."""
        owners: set[Hashable] = set()
        for consumer in self._consumers:
            owners.add(consumer.visitor.budget.owner)
            if len(owners) > 1:
                return None
        return next(iter(owners), None)

    def is_affected_by(self, notice: ChangeNotice) -> bool:
        """Return whether a change means anything to the clients."""
        return True

    def own_notice(self) -> ChangeNotice | None:
        """Return where to look when messages are missing; ``None``: at everything."""
        return None

    def audience_of(self, consumer: GenericAsyncAPIConsumer) -> Hashable:
        """Return what a text is known by that this consumer may be told."""
        return None if self.shares_texts else consumer.get_audience()

    def find(
        self,
        consumers: Sequence[GenericAsyncAPIConsumer],
        pks: Sequence[Any],
        *,
        using: str,
    ) -> Iterable[Any]:
        """Return those of the rows that can be seen."""
        if not self.shares_rows:
            return self.queryset(consumers[0]).using(using).filter(pk__in=pks)
        run = self._run(consumers[0])
        rows = run.run(
            lambda: list(run.queryset().using(using).filter(pk__in=pks)),
            consumers=consumers,
        )
        self._check_parameters(run)
        return rows

    def queryset(self, consumer: GenericAsyncAPIConsumer) -> QuerySet[Any]:
        """Return all rows that a client can see."""
        queryset = consumer.get_queryset(action=self.action, **self.arguments)
        return consumer.filter_queryset(queryset, action=self.action, **self.arguments)

    async def why_refused(
        self, consumer: GenericAsyncAPIConsumer, call: Call
    ) -> Exception | None:
        """Return why a consumer may not have this query any more, if so."""
        return None

    def data_of(self, instance: Any, consumer: GenericAsyncAPIConsumer) -> Any:
        """Return a row as one client sees it."""
        return consumer.get_serializer(
            instance=instance, action_kwargs=self.arguments
        ).data

    def _run(self, consumer: GenericAsyncAPIConsumer) -> Impersonal:
        return Impersonal(consumer, self.arguments, action=self.action)

    def _check_parameters(self, run: Impersonal) -> None:
        """Raise :exc:`NotShared` if the rows depend on what clients do not share."""
        known, read = self._parameters, run.parameters
        if known is not None and (read is None or not read <= known):
            raise NotShared

    def _serialise_once(
        self, instance: Any, consumers: Sequence[GenericAsyncAPIConsumer]
    ) -> ReadRow:
        row = ReadRow(instance)
        if self.shares_texts:
            run = self._run(consumers[0])
            try:
                data = run.run(lambda: run.data_of(instance), consumers=consumers)
            except Exception:
                self.shares_texts = False  # or it fails for a client, too
            else:
                row.texts[None] = encode(data)
                return row
        for consumer in consumers:
            if (audience := consumer.get_audience()) not in row.texts:
                row.texts[audience] = encode(self.data_of(instance, consumer))
        return row


class InstanceQuery(SharedQuery):
    """How one row looks: as the answer to ``retrieve`` does."""

    action = "retrieve"

    def __init__(
        self,
        consumer: GenericAsyncAPIConsumer,
        arguments: Mapping[str, Any],
        *,
        pk: Any,
        **given: Any,
    ) -> None:
        cls: Any = type(consumer)
        self.pk = pk
        self._relations = cls.observer_many_to_many_relationships
        self._own_retrieve = cls.retrieve is not RetrieveModelMixin.retrieve
        self._own_lookup = cls.get_object is not GenericAsyncAPIConsumer.get_object
        super().__init__(consumer, arguments, **given)

    def owns_texts(self, consumer: GenericAsyncAPIConsumer) -> bool:
        """Return whether the class has methods that choose how objects are shown."""
        return self._own_retrieve or super().owns_texts(consumer)

    def is_affected_by(self, notice: ChangeNotice) -> bool:
        """Return whether a change means anything to the clients."""
        return self._relations or not notice.relation

    async def why_refused(
        self, consumer: GenericAsyncAPIConsumer, call: Call
    ) -> Exception | None:
        """Return why a consumer may not see the row; that it is gone is no reason."""
        return await in_turn_of(consumer, self._why_refused, consumer, call)

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

    def own_notice(self) -> ChangeNotice:
        """Return where to look when messages are missing: at the row."""
        label = self.model._meta.label_lower
        return ChangeNotice(action="update", model=label, pk=self.pk, using=self.using)

    def find(
        self,
        consumers: Sequence[GenericAsyncAPIConsumer],
        pks: Sequence[Any],
        *,
        using: str,
    ) -> Iterable[Any]:
        """Return the row, if it can be seen."""
        if not self._own_lookup:
            return super().find(consumers, pks, using=using)
        try:
            return [consumers[0].get_object(action=self.action, **self.arguments)]
        except Exception as error:
            if as_api_exception(error) is None:
                raise
            return []

    def data_of(self, instance: Any, consumer: GenericAsyncAPIConsumer) -> Any:
        """Return the row as one client sees it."""
        if not self._own_retrieve:
            return super().data_of(instance, consumer)
        retrieve: Any = async_to_sync(consumer.retrieve)  # type: ignore[attr-defined]
        data, _ = retrieve(action=self.action, **self.arguments)
        return data


class ListQuery(SharedQuery):
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

    @property
    def size(self) -> int:
        """Return the number of rows that are remembered."""
        return len(self._known or ())

    def for_one(self, arguments: Mapping[str, Any]) -> Self:
        """Return the same query for one client, as far as it has been told."""
        own = super().for_one(arguments)
        own.lock = asyncio.Lock()
        own._known = None if self._known is None else set(self._known)
        return own

    def count(self, consumer: GenericAsyncAPIConsumer) -> None:
        """Learn which rows there are; for threads. May raise :exc:`NotShared`."""
        limit = get_observer_settings().max_list
        if self.shares_rows:
            run = self._run(consumer)
            pks = run.run(
                lambda: self._pks(run.queryset(), limit), consumers=[consumer]
            )
            self._check_parameters(run)
        else:
            pks = self._pks(self.queryset(consumer), limit)
        if len(pks) > limit:
            raise ValidationError(
                f"The list has more than {limit} entries. Ask for a part of it."
            )
        self._known = set(map(key_of, pks))

    def _pks(self, rows: QuerySet[Any], limit: int) -> list[Any]:
        found = rows.using(self.using).order_by().values_list("pk")[: limit + 1]
        return [pk for (pk,) in found]

    def snapshot(
        self, consumer: GenericAsyncAPIConsumer, arguments: Mapping[str, Any]
    ) -> Any:
        """Return what ``list`` answers a client; for threads."""
        return consumer.list_data(action=self.action, **arguments)

    def shared_snapshot(
        self, consumers: Sequence[GenericAsyncAPIConsumer]
    ) -> str | None:
        """Return what ``list`` answers everybody; ``None`` if it answers each."""
        if not (self.shares_rows and self.shares_texts):
            return None
        run = self._run(consumers[0])

        def read() -> Any:
            if run.consumer.pagination_class is not None:
                raise NotShared
            return run.data_of(run.queryset(), many=True)

        try:
            return encode(run.run(read, consumers=consumers))
        except Exception:  # or it fails for a client, too
            return None

    def decide(self, key: str, *, visible: bool) -> ChangeAction | None:
        """Return what has happened to a row, for those who look at this list."""
        known = self._known = self._known or set()
        was_known = key in known
        if visible:
            known.add(key)
            return "update" if was_known else "create"
        known.discard(key)
        return "delete" if was_known else None
