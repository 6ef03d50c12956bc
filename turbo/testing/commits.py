"""
Commits for tests in which nothing is committed.

``TestCase`` opens a transaction, and rolls it back in the end. What waits there for the
commit is run here as the commit would run it, and only that: work in a transaction that
the test itself has opened and not yet ended waits on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["PendingHooks"]

logger = logging.getLogger("turbo.testing")

#: What Django keeps for each ``on_commit()``: savepoints, function, robust.
Hook: TypeAlias = tuple[set[str], Callable[[], Any], bool]


class PendingHooks:
    """The hooks that come to wait for a commit from now on."""

    def __init__(self) -> None:
        #: The functions that wait already, for somebody else.
        self._before = [
            function
            for connection in connections.all(initialized_only=True)
            for _, function, _ in _hooks(connection)
        ]

    def run(self) -> None:
        """Run those whose work a test without a transaction would have committed."""
        while hooks := self._take():
            for _, function, robust in hooks:
                _call(function, robust=robust)

    def _take(self) -> list[Hook]:
        """Return what is due, which is then forgotten by its connection."""
        # By function: a rollback makes new tuples of the hooks that are left.
        known = Counter(map(id, self._before))
        due: list[Hook] = []
        for connection in connections.all(initialized_only=True):
            if _would_be_committed(connection):
                kept: list[Any] = []
                for hook in _hooks(connection):
                    known[id(hook[1])] -= 1
                    (due if known[id(hook[1])] < 0 else kept).append(hook)
                connection.run_on_commit = kept
        return due


def _hooks(connection: BaseDatabaseWrapper) -> list[Hook]:
    hooks: list[Any] = connection.run_on_commit
    return hooks


def _would_be_committed(connection: BaseDatabaseWrapper) -> bool:
    blocks: list[Any] = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)


def _call(function: Callable[[], Any], *, robust: bool) -> None:
    try:
        function()
    except Exception:
        if not robust:
            raise
        logger.exception("%r, which on_commit() was given, failed.", function)
