"""The system check of the outbox, and what ``turbo_doctor`` says about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning
from django.db import connections

from turbo.changes.durability import is_used
from turbo.checks.finding import Finding
from turbo.database.outbox import relay
from turbo.database.outbox.content import describe
from turbo.database.outbox.writing import has_table

__all__ = ["check_outbox", "examine_outbox"]

#: Transactions that are shown.
SHOWN = 10


def check_outbox(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that SQLite can take the row of the outbox beside other writers."""
    if not is_used():
        return []
    return [
        Warning(
            f"The database {alias!r} has an outbox, but not what SQLite needs for it: "
            f"{' and '.join(missing)}. A transaction may fail because another one "
            f"writes.",
            hint='Set OPTIONS to {"transaction_mode": "IMMEDIATE", "init_command": '
            '"PRAGMA journal_mode=WAL;"}.',
            id="turbo.W040",
        )
        for alias in relay.aliases()
        if (missing := _missing_options(alias))
    ]


def _missing_options(alias: str) -> list[str]:
    if connections[alias].vendor != "sqlite":
        return []
    options = connections[alias].settings_dict["OPTIONS"]
    missing = []
    if "journal_mode=wal" not in _plain(options.get("init_command")):
        missing.append("journal_mode=WAL")
    if _plain(options.get("transaction_mode")) != "immediate":
        missing.append("transaction_mode IMMEDIATE")
    return missing


def _plain(value: Any) -> str:
    return str(value or "").replace(" ", "").lower()


def examine_outbox() -> Iterator[Finding]:
    """Yield what waits in the outbox of each database, and what was set aside."""
    if not is_used():
        return
    for alias in relay.aliases():
        if not has_table(connections[alias]):
            yield Finding.failure(
                f"The database {alias!r} has no table for the outbox.",
                f"Run manage.py migrate turbo_database --database {alias}.",
            )
            continue
        yield from _examine(alias)


def _examine(alias: str) -> Iterator[Finding]:
    if count := relay.left_behind(alias).count():
        yield Finding.warning(
            f"{count} transactions of ended processes wait in the outbox of {alias!r}.",
            "Start a server or manage.py turbo_relay, which tells what they changed.",
        )
    else:
        yield Finding.ok(f"The outbox of {alias!r} has nothing of ended processes.")
    rows = relay.set_aside(alias)
    if not (count := rows.count()):
        return
    shown = [f"{row.pk} ({describe(row.content)})" for row in rows[:SHOWN]]
    yield Finding.failure(
        f"{count} transactions cannot be told and were set aside in the outbox of "
        f"{alias!r}: {', '.join(shown)}",
        "Correct what the log says about them, and set failed to false and attempts to "
        "0 in the table turbo_database_outboxentry, or delete the rows.",
    )
