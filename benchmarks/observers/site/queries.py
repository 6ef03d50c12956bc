"""Count the statements that this process sends to its database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

_statements = 0


def count_from_now_on() -> None:
    """Count on every connection, including those that threads open later."""
    connection_created.connect(_install, dispatch_uid="bench")
    for connection in connections.all():
        _install(connection=connection)


def statements() -> int:
    return _statements


def _install(*, connection: Any, **kwargs: Any) -> None:
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


def _count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
    global _statements
    if not sql.startswith("PRAGMA"):
        _statements += 1
    return execute(sql, *rest)
