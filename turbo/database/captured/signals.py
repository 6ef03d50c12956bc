"""
The row with what signals have reported of captured tables in a transaction.

::

    {"chat.Message": {"count": 3, "rows": [[5, "create", 1], [7, "update", 2]]}}

In a namespace the model is ``"acme/chat.Message"``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Func
from django.db.models.functions import Cast

from turbo.changes.records import Record
from turbo.changes.rows import dump
from turbo.database.models import CapturedStatement
from turbo.runtime.namespaces import join

__all__ = ["LIMIT", "SIGNALS", "count_writes", "transaction_id", "write"]

#: The operation of such a row.
SIGNALS = "signals"
#: Rows of one transaction above which they are not named; the triggers have it, too.
LIMIT = 10_000

_INSERT = f"""
    INSERT INTO {CapturedStatement._meta.db_table}
        (xid, model, operation, content, count)
    VALUES (pg_current_xact_id()::text, '', %s, %s::jsonb, %s)
"""


def transaction_id() -> Cast:
    """Return an expression for the id of the present transaction."""
    xid = Func(function="pg_current_xact_id", output_field=CharField())
    return Cast(xid, CharField())


def count_writes(contents: Iterable[object]) -> dict[str, Any]:
    """Return the rows that were written according to signals, by their tables."""
    counts = Counter(
        (join(content.namespace, label), pk, content.action)
        for content in contents
        if isinstance(content, Record)
        for label, pk in content.writes
    )
    found: dict[str, Any] = {}
    for (label, pk, action), count in counts.items():
        table = found.setdefault(label, {"count": 0, "rows": []})
        table["count"] += count
        table["rows"].append([json.loads(pk), action, count])
    for table in found.values():
        if len(table["rows"]) > LIMIT:
            table["rows"] = []  # so many are only compared by their number
    return found


def write(connection: BaseDatabaseWrapper, found: dict[str, Any]) -> None:
    """Write the row into the transaction of a connection, which is in PostgreSQL."""
    count = sum(table["count"] for table in found.values())
    with connection.cursor() as cursor:  # twice as fast as the ORM
        cursor.execute(_INSERT, [SIGNALS, dump(found), count])
