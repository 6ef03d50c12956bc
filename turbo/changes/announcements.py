"""A function that reports changes for which Django sends no signals."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import get_args

from django.db import router, transaction
from django.db.models import Model

from turbo.changes.change import has_pk
from turbo.changes.recording import record
from turbo.changes.watchlist import watchlist
from turbo.exceptions import UnsavedInstanceError
from turbo.typing import ChangeAction

__all__ = ["announce"]


def announce(
    instances: Model | Iterable[Model],
    action: ChangeAction = "update",
    using: str | None = None,
) -> None:
    """
    Announce that ``instances`` were created, updated or deleted, after the commit.

    Use it for raw SQL, cascades of the database, and other changes without a signal::

        with transaction.atomic():
            cursor.execute("UPDATE chat_message SET …")
            turbo.announce(Message.objects.filter(room=room))

    It is combined with the signals for the same object in the same transaction.
    """
    if action not in get_args(ChangeAction):
        known = ", ".join(map(repr, get_args(ChangeAction)))
        raise ValueError(f"The action of a change is one of {known}, not {action!r}.")
    rows = [instances] if isinstance(instances, Model) else list(instances)
    for row in rows:
        if not has_pk(row, type(row)):
            raise UnsavedInstanceError(type(row)._meta.label)
    databases = [using or _database(row) for row in rows]
    with ExitStack() as stack:
        # A hook of one row may change another one, of which nothing is reported yet.
        for alias in set(databases) if len(rows) > 1 else ():
            stack.enter_context(transaction.atomic(using=alias, savepoint=False))
        for row, alias in zip(rows, databases, strict=True):
            for target in watchlist.targets(type(row)):
                record(target, instance=row, action=action, using=alias)


def _database(row: Model) -> str:
    return row._state.db or router.db_for_write(type(row), instance=row)
