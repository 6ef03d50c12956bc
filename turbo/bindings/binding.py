"""A queryset that is kept in the cache and is always up to date."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError

from turbo.bindings.cache import reading
from turbo.bindings.cache.declaration import Declaration
from turbo.bindings.cache.notify import tell_unknown
from turbo.bindings.cache.outage import Unreachable, with_store
from turbo.bindings.cache.registry import register
from turbo.bindings.cache.snapshot import Snapshot
from turbo.bindings.store import Applied, State, Store
from turbo.changes.rows import pk_text
from turbo.runtime.threads import database_sync_to_async

__all__ = ["Binding"]


class Binding(Declaration):
    """
    A queryset whose rows are cached for all processes and kept up to date.

    Declare it in an app's ``bindings.py``::

        class ActiveUsers(turbo.bindings.Binding):
            model = User
            filters = {"is_active": True}

        ActiveUsers().all()  # {1: <User: ann>, 7: <User: bob>}, without a query

    With ``params``, there is one binding for each value of its arguments::

        class Members(turbo.bindings.Binding):
            model = User
            params = ["room"]

            def filters(self):
                return {"rooms": self.room}

        Members(room=5).keys()  # [1, 7]
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.model is not None:
            register(cls)

    def all(self) -> dict[Any, Any]:
        """
        Return all rows by primary key, in the order of the queryset.

        The rows are instances, new ones at each call, or serialized values if the
        binding has a ``serializer_class``.
        """
        return reading.read(self).all()

    def get(self, pk: Any, default: Any = None) -> Any:
        """Return one row, or ``default`` if it is not in the queryset."""
        row = self.stamped_row(pk)[1]
        return default if row is None else row

    def stamped_row(self, pk: Any) -> tuple[State | None, Any]:
        """Return one row, and the state of the binding when the row was read."""
        try:
            pk = self.schema.pk(pk_text(pk))
        except (TypeError, ValueError, ValidationError):
            return None, None
        return reading.read_row(self, pk)

    def keys(self) -> list[Any]:
        """Return the primary keys, in the order of the queryset."""
        return reading.read(self).keys()

    def snapshot(self) -> Snapshot:
        """Return all rows as they were at one version."""
        return reading.read(self)

    def state(self) -> State | None:
        """Return the state of the binding, or ``None`` if it is unknown."""
        return reading.peek(self)

    @property
    def version(self) -> str:
        """
        Return the version, which changes with the content: ``"8e1f0c9a7d:12"``.

        The same version always means the same content. It is ``""`` if the store cannot
        be reached, or in a transaction with changes of its own.
        """
        state = self.state() or reading.read(self).state
        return str(state.version) if state else ""

    @property
    def last_modified(self) -> datetime.datetime | None:
        """Return when the version was made, or ``None`` if there is none."""
        state = self.state() or reading.read(self).state
        if state is None:
            return None
        return datetime.datetime.fromtimestamp(state.modified, datetime.UTC)

    def refresh(self) -> int:
        """
        Read all rows from the database, and return how many have changed.

        Use it for changes without a signal: an SQL statement, or a filter that depends
        on the time.
        """
        try:
            return reading.refresh(self)
        except Unreachable:
            return 0

    def bump(self) -> None:
        """Make a new version, so that all clients and responses count as outdated."""
        self._outdate(lambda store: store.bump(self.slot))

    def clear(self) -> None:
        """Delete the cached rows; the next reader fills the cache again."""
        self._outdate(lambda store: store.clear(self.slot))

    def _outdate(self, work: Callable[[Store], Applied | bool | None]) -> None:
        try:
            done = with_store(work)
        except Unreachable:
            return
        if done.has_listeners if isinstance(done, Applied) else done:
            tell_unknown(self.slot)

    async def aall(self) -> dict[Any, Any]:
        """Async version of all()."""
        return await database_sync_to_async(self.all)()

    async def aget(self, pk: Any, default: Any = None) -> Any:
        """Async version of get()."""
        return await database_sync_to_async(self.get)(pk, default)

    async def akeys(self) -> list[Any]:
        """Async version of keys()."""
        return await database_sync_to_async(self.keys)()

    async def asnapshot(self) -> Snapshot:
        """Async version of snapshot()."""
        return await database_sync_to_async(self.snapshot)()

    async def arefresh(self) -> int:
        """Async version of refresh()."""
        return await database_sync_to_async(self.refresh)()

    async def abump(self) -> None:
        """Async version of bump()."""
        await database_sync_to_async(self.bump)()

    async def aclear(self) -> None:
        """Async version of clear()."""
        await database_sync_to_async(self.clear)()
