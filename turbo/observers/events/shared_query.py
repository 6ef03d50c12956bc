"""
Rows that several clients share: read once, serialised once.

Clients share what cannot depend on any of them. They share rows if the class has no
methods of its own that choose rows, and no filter backend has looked for the client.
They share serialisations if the same is true of the serializer.
:mod:`turbo.observers.events.stand_in_client` finds that out. All other clients are
served separately, or together with those of the same audience.
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

#: Methods that choose the objects, and methods that choose how they are shown.
ROWS = ("filter_queryset", "get_object", "get_queryset", "list_data")
TEXTS = ("get_serializer", "get_serializer_class", "get_serializer_context")

#: Methods that choose a page.
PAGES = ("get_paginated_response", "paginate_queryset")


def _overrides(consumer: Any, names: Iterable[str]) -> bool:
    """Return whether a consumer or its class overrides any of these methods."""
    base, cls = GenericAsyncAPIConsumer, type(consumer)
    return any(
        getattr(cls, name) is not getattr(base, name) or name in vars(consumer)
        for name in names
    )


@dataclass(slots=True)
class ReadRow:
    """An object, and its JSON by audience; the audience ``None`` is everybody."""

    instance: Any
    texts: dict[Hashable, str] = field(default_factory=dict)

    def text_for(self, audience: Hashable) -> str | None:
        """Return the JSON for an audience."""
        return self.texts.get(audience) or self.texts.get(None)


class SharedQuery:
    """A query for the rows of one stream, which subscriptions may share."""

    #: The action whose answer shows objects in the same way as events do.
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
        #: The query parameters that the rows may depend on; ``None`` stands for all.
        self._parameters: set[str] | None = set()
        self.shares_rows = True
        self.key = self._key(consumer)

    def owns_texts(self, consumer: GenericAsyncAPIConsumer) -> bool:
        """Return whether the class overrides methods that decide what objects show."""
        return _overrides(consumer, TEXTS)

    def _key(self, consumer: GenericAsyncAPIConsumer) -> Hashable:
        """Return a key that is equal for all clients that may share this query."""
        run = Impersonal(consumer, self.arguments, action=self.action)
        try:
            if _overrides(consumer, ROWS):
                raise NotShared
            run.run(run.queryset)
        except Exception:  # it is raised again later if the client has to know of it
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
        """Add a subscription of ``consumer``."""
        self._consumers[consumer] = self._consumers.get(consumer, 0) + 1

    def leave(self, consumer: GenericAsyncAPIConsumer) -> None:
        """Remove a subscription of ``consumer``."""
        self._consumers[consumer] -= 1
        if not self._consumers[consumer]:
            del self._consumers[consumer]

    def for_one(self, arguments: Mapping[str, Any]) -> Self:
        """Return a copy for one client, which knows the same rows."""
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
        Read the visible rows in one query, and serialise them.

        Call this in a thread only. Raises :exc:`NotShared` if the result has come to
        depend on the client.
        """
        consumers = consumers or list(self._consumers)
        if not consumers:
            return {}
        wanted = [pk_value(self.model, pk) for pk in pks]
        found = self.find(consumers, wanted, using=using)
        return {key_of(row.pk): self._serialise_once(row, consumers) for row in found}

    @property
    def owner(self) -> Hashable:
        """Return the user for whom rows are read, or ``None`` if there are several."""
        owners: set[Hashable] = set()
        for consumer in self._consumers:
            owners.add(consumer.visitor.budget.owner)
            if len(owners) > 1:
                return None
        return next(iter(owners), None)

    def is_affected_by(self, notice: ChangeNotice) -> bool:
        """Return whether a change can affect what the clients see."""
        return True

    def own_notice(self) -> ChangeNotice | None:
        """Return the notice to act on after lost messages; ``None`` reads all rows."""
        return None

    def audience_of(self, consumer: GenericAsyncAPIConsumer) -> Hashable:
        """Return the audience whose text this consumer gets; ``None`` is everybody."""
        return None if self.shares_texts else consumer.get_audience()

    def find(
        self,
        consumers: Sequence[GenericAsyncAPIConsumer],
        pks: Sequence[Any],
        *,
        using: str,
    ) -> Iterable[Any]:
        """Return those of the rows that the clients can see."""
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
        """Return the error if a consumer may no longer use this query."""
        return None

    def data_of(self, instance: Any, consumer: GenericAsyncAPIConsumer) -> Any:
        """Return a row as one client sees it."""
        return consumer.get_serializer(
            instance=instance, action_kwargs=self.arguments
        ).data

    def _run(self, consumer: GenericAsyncAPIConsumer) -> Impersonal:
        return Impersonal(consumer, self.arguments, action=self.action)

    def _check_parameters(self, run: Impersonal) -> None:
        """Raise :exc:`NotShared` if rows depend on parameters that clients may vary."""
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
                self.shares_texts = False  # a real error occurs again for each client
            else:
                row.texts[None] = encode(data)
                return row
        for consumer in consumers:
            if (audience := consumer.get_audience()) not in row.texts:
                row.texts[audience] = encode(self.data_of(instance, consumer))
        return row


class InstanceQuery(SharedQuery):
    """A query for one row, shown as in the answer to ``retrieve``."""

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
        """Return whether the class overrides methods that decide what objects show."""
        return self._own_retrieve or super().owns_texts(consumer)

    def is_affected_by(self, notice: ChangeNotice) -> bool:
        """Return whether a change can affect what the clients see."""
        return self._relations or not notice.relation

    async def why_refused(
        self, consumer: GenericAsyncAPIConsumer, call: Call
    ) -> Exception | None:
        """Return an error if a consumer may not see the row, but not if it is gone."""
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
        """Return the notice to act on after lost messages: an update of the row."""
        label = self.model._meta.label_lower
        return ChangeNotice(action="update", model=label, pk=self.pk, using=self.using)

    def find(
        self,
        consumers: Sequence[GenericAsyncAPIConsumer],
        pks: Sequence[Any],
        *,
        using: str,
    ) -> Iterable[Any]:
        """Return the row, if the client can see it."""
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
    """A query for the rows in the answer to ``list``."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        #: Held while the rows are counted for the first time.
        self.lock = asyncio.Lock()
        self._known: set[str] | None = None

    @property
    def counted(self) -> bool:
        """Return whether the query knows which rows are in the list."""
        return self._known is not None

    @property
    def size(self) -> int:
        """Return the number of rows that are remembered."""
        return len(self._known or ())

    def for_one(self, arguments: Mapping[str, Any]) -> Self:
        """Return a copy for one client, which knows the same rows."""
        own = super().for_one(arguments)
        own.lock = asyncio.Lock()
        own._known = None if self._known is None else set(self._known)
        return own

    def count(self, consumer: GenericAsyncAPIConsumer) -> None:
        """
        Read which rows are in the list.

        Call this in a thread only. May raise :exc:`NotShared`.
        """
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
        """Return what ``list`` answers one client; call this in a thread only."""
        return consumer.list_data(action=self.action, **arguments)

    def shared_snapshot(
        self, consumers: Sequence[GenericAsyncAPIConsumer]
    ) -> str | None:
        """Return what ``list`` answers all clients; ``None`` if the answers differ."""
        if not (self.shares_rows and self.shares_texts):
            return None
        if _overrides(consumers[0], PAGES):
            return None
        run = self._run(consumers[0])

        def read() -> Any:
            if run.consumer.pagination_class is not None:
                raise NotShared
            return run.data_of(run.queryset(), many=True)

        try:
            return encode(run.run(read, consumers=consumers))
        except Exception:  # a real error occurs again for each client
            return None

    def decide(self, key: str, *, visible: bool) -> ChangeAction | None:
        """Return what has happened to a row, as seen in this list."""
        known = self._known = self._known or set()
        was_known = key in known
        if visible:
            known.add(key)
            return "update" if was_known else "create"
        known.discard(key)
        return "delete" if was_known else None
