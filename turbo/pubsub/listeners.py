"""
The users who listen, and what each of them is told.

``has_access`` is asked once for each change and user. Mostly one visit to a thread asks
for all users; one whose answers take long is asked apart, and the others go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from turbo import metrics
from turbo.connections.visitor import Visitor
from turbo.delivery.frame import Frame
from turbo.pubsub.changes import PublishedChange
from turbo.pubsub.protocol import GAP_FRAME

__all__ = ["Listener", "Reader"]

#: Changes that may wait for one user, who is told of a gap if there are more.
MOST = 1_000
#: Seconds of asking after which a user is asked apart from the others.
QUICK = 0.05


class Listener(Protocol):
    """A socket that has been let in."""

    visitor: Visitor

    def tell(self, frame: Frame) -> None:
        """Take a frame; never blocks."""


class Reader:
    """One user, on however many sockets; whoever is not logged in is one, too."""

    def __init__(self, key: str | None, owner: Hashable) -> None:
        self.key = key
        #: What all connections of the user have in common.
        self.owner = owner
        self.listeners: dict[Listener, None] = {}
        #: Whether a thread is at work on it.
        self.is_busy = False
        self.is_slow = False
        self._waiting: deque[PublishedChange] = deque()
        self._misses = False
        # What is decided at the moment; a thread owns it while this is busy.
        self._user: Any = None
        self._batch: Sequence[PublishedChange] = ()
        self._frames: list[Frame] = []

    @property
    def is_behind(self) -> bool:
        """Return whether something has yet to be told."""
        return self.is_busy or bool(self._waiting)

    def put(self, changes: Sequence[PublishedChange]) -> None:
        """Take what there is to tell; the user is asked about soon."""
        if not self.listeners:
            return
        if len(self._waiting) + len(changes) > MOST:
            metrics.count("dropped", len(self._waiting) + len(changes))
            self._waiting.clear()
            self.miss()
        else:
            self._waiting.extend(changes)

    def miss(self) -> None:
        """Say that changes may be missing, after what is decided at the moment."""
        self._misses = True
        if not self.is_busy:
            self.finish()

    def begin(self) -> bool:
        """Take what waits, to be decided in a thread; return whether there is any."""
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
        """Return what decides, change by change; for threads."""
        return [partial(self._decide, change) for change in self._batch]

    def decide(self) -> None:
        """Decide everything at once; for threads."""
        begun = time.monotonic()
        for step in self.steps():
            step()
        self.is_slow = time.monotonic() - begun > QUICK

    def finish(self) -> None:
        """Tell what was decided."""
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
