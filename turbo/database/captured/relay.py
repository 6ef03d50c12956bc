"""
The telling of what triggers have noted.

Every process that sends or serves looks twice a second for rows of committed
transactions. It takes those of some transactions, and in the same step it writes what
is left of each one, after its signals, into the outbox as an entry of its own. Then it
tells the entry. If it ends before that, another process does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.db import connections, transaction
from django.db.models import QuerySet, Sum, TextField
from django.db.models.functions import Cast, Now

from turbo import metrics
from turbo.changes.captured import is_used
from turbo.changes.rows import dump
from turbo.database.captured.remainder import Statement, remainder
from turbo.database.captured.signals import LIMIT, SIGNALS
from turbo.database.models import CapturedStatement, OutboxEntry
from turbo.database.outbox import relay as outbox
from turbo.database.outbox.content import MANY, item_in
from turbo.database.outbox.tracking import EntryPlace, Tracker, get_tracker
from turbo.database.rounds import Rounds
from turbo.delivery.broadcast import moment
from turbo.runtime.backoff import OutageLog
from turbo.runtime.failures import log_failure
from turbo.runtime.log_once import once_a_minute
from turbo.runtime.namespaces import SEPARATOR

__all__ = ["aliases", "has_table", "rounds", "start", "take", "tell_captured"]

logger = logging.getLogger("turbo.capture")

#: Seconds between two looks.
INTERVAL = 0.5
#: The most rows of the table that are looked at for transactions to take.
BATCH = 500
#: The lock that a process holds while it takes rows; the others wait for their turn.
LOCK = 0x7475_7262_6F01

Rows = QuerySet[CapturedStatement]


def aliases() -> Iterator[str]:
    """Yield the databases that may have captured tables."""
    if is_used():
        for alias in outbox.aliases():
            if connections[alias].vendor == "postgresql":
                yield alias


def has_table(alias: str) -> bool:
    """Return whether the table exists into which triggers write."""
    names = connections[alias].introspection.table_names()
    return CapturedStatement._meta.db_table in names


def tell_captured(alias: str, tracker: Tracker | None = None) -> int:
    """Tell what is left of the transactions so far; return how many entries it were."""
    tracker, count = tracker or get_tracker(), 0
    rows = CapturedStatement.objects.using(alias).order_by("pk")
    last = rows.values_list("pk", flat=True).last()
    while last is not None and rows.filter(pk__lte=last).exists():
        entries = take(alias, tracker)
        if entries is None:
            return count  # another process is taking them
        count += len(entries)
        moment()  # once known, the log can tell who was faster
        outbox.attempt_all(alias, entries, tracker)
    return count


def take(alias: str, tracker: Tracker) -> list[OutboxEntry] | None:
    """Move some transactions into the outbox, unless another process does so now."""
    with transaction.atomic(using=alias):
        if not _is_alone(alias):
            return None
        rows = CapturedStatement.objects.using(alias).order_by("pk")
        xids = _first_xids(rows)
        rows = rows.filter(xid__in=xids)
        entries = [
            OutboxEntry(seen=Now(), owner=tracker.owner, content=content)
            for content in _contents(rows, xids)
        ]
        rows.order_by()._raw_delete(alias)
        OutboxEntry.objects.using(alias).bulk_create(entries)
    for entry in entries:
        tracker.hold(EntryPlace(alias, entry.pk))
    return entries


def _is_alone(alias: str) -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _first_xids(rows: Rows) -> list[str]:
    """
    Return the first transactions, as many as are worth one step.

    All rows of a transaction become visible together.
    """
    xids: dict[str, None] = {}
    total = 0
    for xid, count in rows.values_list("xid", "count")[:BATCH]:
        if total > LIMIT and xid not in xids:
            break
        xids[xid] = None
        total += count
    return list(xids)


def _contents(rows: Rows, xids: Sequence[str]) -> Iterator[str]:
    """Yield what is left of each transaction, if anything."""
    totals = rows.order_by().exclude(operation=SIGNALS).values_list("xid", "model")
    large = [
        (xid, model)
        for xid, model, total in totals.annotate(total=Sum("count"))
        if total > LIMIT
    ]
    without = rows
    for xid, model in large:
        without = without.exclude(xid=xid, model=model)
    statements: dict[str, list[Statement]] = {xid: [] for xid in xids}
    contents = dict(without.values_list("pk", Cast("content", TextField())))
    for pk, xid, model, operation, count in rows.values_list(
        "pk", "xid", "model", "operation", "count"
    ):
        if operation == SIGNALS or _is_known(model):
            content = _read(contents.get(pk))
            statements[xid].append(Statement(model, operation, content, count))
    for xid, some in statements.items():
        unnamed = [model for x, model in large if x == xid]
        for namespace, own in _by_namespace(some).items():
            content, count = _remainder(own, _here(unnamed, namespace), namespace)
            if content is not None:
                metrics.count("captured", count)
                yield content


def _by_namespace(statements: Sequence[Statement]) -> dict[str, list[Statement]]:
    """Return the statements of each namespace, with models that are without it."""
    found: dict[str, list[Statement]] = {}
    for statement in statements:
        if statement.operation != SIGNALS:
            namespace, label = split_label(statement.model)
            found.setdefault(namespace, []).append(statement._replace(model=label))
    for statement in statements:
        if statement.operation == SIGNALS:
            for namespace, own in list(found.items()):
                told = {
                    label: rows
                    for model, rows in statement.content.items()
                    for place, label in [split_label(model)]
                    if place == namespace
                }
                found[namespace] = [*own, statement._replace(content=told)]
    return found


def _here(models: Sequence[str], namespace: str) -> list[str]:
    places = map(split_label, models)
    return [label for place, label in places if place == namespace]


def split_label(model: str) -> tuple[str, str]:
    """Return the namespace of a model in the table, and its label."""
    namespace, _, label = model.rpartition(SEPARATOR)
    return namespace, label


def _read(content: str | None) -> Any:
    """Return the rows of a statement, or ``None`` if they are not known."""
    try:
        return None if content is None else json.loads(content)
    except Exception as error:  # PostgreSQL has larger numbers than Python reads
        log_failure("Rows of a captured statement could not be read.", error)
        return None


def _remainder(
    statements: Sequence[Statement], unnamed: Sequence[str], namespace: str
) -> tuple[str | None, int]:
    try:
        return remainder(statements, unnamed, namespace)
    except Exception as error:  # a field of the project may not read its values
        log_failure("Changes of captured tables could not be read.", error)
        labels = dict.fromkeys(s.model for s in statements if s.operation != SIGNALS)
        many = ({"model": label, "action": MANY} for label in labels)
        items = [item_in(namespace, item) for item in many]
        return dump({"items": items, "rows": []}), len(items)


def _is_known(model: str) -> bool:
    _, label = split_label(model)
    try:
        apps.get_model(label)
    except LookupError:
        if once_a_minute(f"captured {label}"):
            logger.warning("A trigger notes changes of %s, which is no model.", label)
        return False
    return True


def _lacks_table(alias: str) -> bool:
    """Return whether there is no table, and say so."""
    try:
        if has_table(alias):
            return False
    except Exception:
        return False  # the error of the look says more
    if once_a_minute(f"capture in {alias}"):
        logger.error(
            "Changes without signals are not told from the database %r, because it "
            "has no table for them. Run manage.py migrate turbo_database --database "
            "%s.",
            alias,
            alias,
        )
    return True


def _outage_log(alias: str) -> OutageLog:
    return OutageLog(
        logger,
        down=f"What was captured in {alias!r} cannot be read: %(type)s: %(error)s",
        up=f"What was captured in {alias!r} is read again.",
    )


rounds = Rounds(
    "turbo-capture",
    interval=INTERVAL,
    aliases=aliases,
    look=tell_captured,
    outages=_outage_log,
    explains=_lacks_table,
    keeps=True,
)


def start() -> None:
    """Look for rows from now on, if this project has captured models in PostgreSQL."""
    if is_used() and any(c.vendor == "postgresql" for c in connections.all()):
        rounds.start()
