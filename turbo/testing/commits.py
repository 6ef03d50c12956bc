"""
Run commit hooks in tests that never commit.

``TestCase`` opens a transaction, and rolls it back in the end. This module runs the
hooks that wait for the commit of that transaction. Hooks in a transaction that the test
itself has opened and not yet ended go on waiting.
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

#: Django's entry for each ``on_commit()``: savepoints, function, robust.
Hook: TypeAlias = tuple[set[str], Callable[[], Any], bool]


class PendingHooks:
    """The hooks that begin to wait for a commit from now on."""

    def __init__(self) -> None:
        #: The functions that were waiting before.
        self._before = [
            function
            for connection in connections.all(initialized_only=True)
            for _, function, _ in _hooks(connection)
        ]

    def run(self) -> None:
        """Run the hooks that would have run in a test without a transaction."""
        while hooks := self._take():
            for _, function, robust in hooks:
                _call(function, robust=robust)

    def _take(self) -> list[Hook]:
        """Remove the hooks that are due from their connections, and return them."""
        # Compare functions, because a rollback makes new tuples for the remaining
        # hooks.
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
        logger.exception("The on_commit() hook %r failed.", function)
