"""
The users who listen, and the changes for each of them.

``has_access()`` is called once for each change and user. Mostly, one visit to a thread
decides for all users. Users with slow tests are decided separately, so that they do not
delay the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from turbo import metrics
from turbo.connections.visitor import Visitor
from turbo.delivery.frame import Frame
from turbo.pubsub.changes import PublishedChange
from turbo.pubsub.protocol import GAP_FRAME
from turbo.runtime.namespaces import entered

__all__ = ["Listener", "Reader", "ReaderKey"]

#: The most changes that wait for one user; if there are more, the user gets a gap.
MOST = 1_000
#: Seconds of tests after which a user is decided separately.
QUICK = 0.05


class Listener(Protocol):
    """A socket that has been admitted."""

    visitor: Visitor

    def tell(self, frame: Frame) -> None:
        """Take a frame without blocking."""


#: A namespace, and the key of a user, which is ``None`` for all who are anonymous.
ReaderKey: TypeAlias = tuple[str, str | None]


class Reader:
    """One user with all their sockets; all anonymous users share one reader."""

    def __init__(self, key: ReaderKey, owner: Hashable) -> None:
        self.key = key
        self.namespace = key[0]
        #: A key that all connections of the user share.
        self.owner = owner
        self.listeners: dict[Listener, None] = {}
        #: Whether a thread is deciding for this user.
        self.is_busy = False
        self.is_slow = False
        self._waiting: deque[PublishedChange] = deque()
        self._misses = False
        # The current decisions; a thread owns them while the reader is busy.
        self._user: Any = None
        self._batch: Sequence[PublishedChange] = ()
        self._frames: list[Frame] = []

    @property
    def is_behind(self) -> bool:
        """Return whether changes still have to be decided or sent."""
        return self.is_busy or bool(self._waiting)

    def put(self, changes: Sequence[PublishedChange]) -> None:
        """Add changes that are to be decided."""
        if not self.listeners:
            return
        if len(self._waiting) + len(changes) > MOST:
            metrics.count("dropped", len(self._waiting) + len(changes))
            self._waiting.clear()
            self.miss()
        else:
            self._waiting.extend(changes)

    def miss(self) -> None:
        """Send a gap after the current decisions, because changes may be missing."""
        self._misses = True
        if not self.is_busy:
            self.finish()

    def begin(self) -> bool:
        """Take the waiting changes for a thread; return whether there are any."""
        if not self.listeners:
            self._waiting.clear()
        if self.is_busy or not self._waiting:
            return False
        self.is_busy = True
        self._user = next(reversed(self.listeners)).visitor.user
        self._batch = tuple(self._waiting)
        self._waiting.clear()
        return True

    def steps(self) -> Iterable[Callable[[], None]]:
        """Return functions that decide one change each; for threads."""
        return [partial(self._decide, change) for change in self._batch]

    def decide(self) -> None:
        """Decide all changes; for threads."""
        begun = time.monotonic()
        with entered(self.namespace):
            for step in self.steps():
                step()
        self.is_slow = time.monotonic() - begun > QUICK

    def finish(self) -> None:
        """Send the allowed changes."""
        frames, self._frames, self._batch = self._frames, [], ()
        if self._misses:
            self._misses = False
            frames.append(Frame(GAP_FRAME))
        self.is_busy = False
        for listener in list(self.listeners):
            for frame in frames:
                listener.tell(frame)
        metrics.count("delivered", len(frames) * len(self.listeners))

    def _decide(self, change: PublishedChange) -> None:
        if change.admits(self._user):
            self._frames.append(change.frame())
