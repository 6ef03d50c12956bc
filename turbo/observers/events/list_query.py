"""What a list looks like: which rows are in it, and what has happened to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError

from turbo.observers.conf import get_observer_settings
from turbo.observers.events.impersonal import NotShared
from turbo.observers.events.shared_query import SharedQuery
from turbo.observers.generics import GenericAsyncAPIConsumer
from turbo.observers.wire.notice import pk_text
from turbo.observers.wire.replies import encode
from turbo.typing import ChangeAction

__all__ = ["ListQuery"]


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
        self._known = set(map(pk_text, pks))

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
