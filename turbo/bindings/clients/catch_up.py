"""Read what clients have missed, once for all that ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

from turbo.bindings.binding import Binding
from turbo.bindings.cache import reading
from turbo.bindings.cache.outage import Unreachable, with_store
from turbo.bindings.cache.snapshot import Snapshot
from turbo.bindings.store import State
from turbo.bindings.store.versions import Version
from turbo.conf import get_settings
from turbo.runtime.loops import PerLoop
from turbo.runtime.namespaces import current
from turbo.runtime.threads import in_thread, to_its_end, turn_of

__all__ = ["Caught", "catch_up", "stay"]


@dataclass(frozen=True, slots=True)
class Caught:
    """
    The changes since the client's version, or else all rows.

    ``version`` is the version that the client has with them. It is ``None`` if the
    store cannot be reached and the rows come from the database.
    """

    version: Version | None
    changes: tuple[str, ...] | None = None
    snapshot: Snapshot | None = None

    @property
    def size(self) -> int:
        """Return the number of characters to send to a client."""
        texts = self.snapshot.texts.values() if self.snapshot else ()
        return sum(map(len, texts)) + sum(map(len, self.changes or ()))


async def catch_up(binding: Binding, since: Version | None, owner: Hashable) -> Caught:
    """
    Return the changes since a version, or all rows, and listen for further changes.

    Each owner has one call at a time. Equal calls of several clients share one reading.
    """

    async def work() -> Caught:
        return await in_thread(_catch_up, binding, since)

    async def in_turn() -> Caught:
        async with turn_of(owner):
            key = current(), binding, since
            shared: Caught = await _shared.get().run(key, work)
            return shared

    return await to_its_end(in_turn())


async def stay(binding: Binding) -> State | None:
    """Go on listening for changes, and return the state of the binding."""

    async def work() -> State | None:
        return await in_thread(_listen, binding)

    key = current(), binding, "stay"
    shared: State | None = await _shared.get().run(key, work)
    return shared


def _listen(binding: Binding) -> State | None:
    seconds = max(60.0, 3 * get_settings().heartbeat)
    try:
        return with_store(lambda store: store.listen(binding.slot, seconds=seconds))
    except Unreachable:
        return None


def _catch_up(binding: Binding, since: Version | None) -> Caught:
    # Listen before reading, so that each change is either read or broadcast.
    if _listen(binding) is None:
        reading.read(binding)
        _listen(binding)
    if since is not None and (changes := _changes(binding, since)) is not None:
        return changes
    snapshot = reading.read(binding)
    version = snapshot.state.version if snapshot.state else None
    return Caught(version, snapshot=snapshot)


def _changes(binding: Binding, since: Version) -> Caught | None:
    try:
        reading.require_done(binding)
        contents = with_store(lambda store: store.read(binding.slot, since))
    except Unreachable:
        return None
    if contents is None or contents.changes is None:
        return None
    return Caught(contents.state.version, changes=contents.changes)


class _Shared:
    """Share one run of the same work, which begins after all its callers have asked."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._locks: dict[Hashable, asyncio.Lock] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        task = self._waiting.get(key)
        if task is None:
            task = asyncio.ensure_future(self._run(key, work))
            self._waiting[key] = task
        return await asyncio.shield(task)

    async def _run(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            del self._waiting[key]
            try:
                return await work()
            finally:
                if key not in self._waiting:
                    self._locks.pop(key, None)


_shared = PerLoop(_Shared)
