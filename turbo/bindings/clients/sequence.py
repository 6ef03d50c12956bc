"""Bring the changes of a binding into order for one client."""

from __future__ import annotations

from typing import TypeAlias

from turbo.bindings.store.versions import Version

__all__ = ["ChangeSequence"]

#: A version, and the change that led to it.
VersionedChange: TypeAlias = tuple[Version, str]

#: Changes that may wait for earlier ones.
LIMIT = 1_000


class ChangeSequence:
    """
    The version that a client has, and changes that arrived too early.

    Several processes broadcast, so messages may arrive in the wrong order. Each has its
    version, and is passed on after the change before it.
    """

    def __init__(self) -> None:
        #: The client's version; ``None`` while the client catches up.
        self.version: Version | None = None
        #: Whether a change was lost that no further message will bring.
        self.is_lost = False
        self._early: dict[Version, str] = {}

    @property
    def is_stuck(self) -> bool:
        """Return whether missing changes must be read from the store."""
        return self.version is not None and (self.is_lost or bool(self._early))

    def is_longer(self, size: int) -> bool:
        """Return whether too many changes wait, or more than ``size`` characters."""
        waiting = self._early.values()
        return len(waiting) >= LIMIT or sum(map(len, waiting)) > size

    def stop(self) -> None:
        """Pass nothing on until :meth:`start`; the log is read from here on."""
        self.version, self.is_lost = None, False

    def start(self, version: Version | None) -> list[VersionedChange]:
        """Go on from the client's new version; return the changes that follow it."""
        self.version = version
        if version is None:
            return []
        self._early = {
            early: change
            for early, change in self._early.items()
            if early.epoch == version.epoch and early.number > version.number
        }
        return self._ready()

    def take(self, version: Version | None, change: str) -> list[VersionedChange]:
        """Add a message, and return the changes that can be passed on now."""
        if version is None or not change or len(self._early) >= LIMIT:
            self.is_lost = True
            return []
        mine = self.version
        if mine is not None and mine.epoch != version.epoch:
            self.is_lost = True
        if mine is None or mine.epoch != version.epoch or version.number > mine.number:
            self._early[version] = change
        return self._ready()

    def _ready(self) -> list[VersionedChange]:
        ready: list[VersionedChange] = []
        while self.version is not None:
            following = Version(self.version.epoch, self.version.number + 1)
            change = self._early.pop(following, None)
            if change is None:
                break
            self.version = following
            ready.append((following, change))
        return ready
