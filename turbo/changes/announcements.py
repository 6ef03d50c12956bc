"""A function that reports changes for which Django sends no signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from django.db import router
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
    for instance in [instances] if isinstance(instances, Model) else instances:
        model = type(instance)
        if not has_pk(instance, model):
            raise UnsavedInstanceError(model._meta.label)
        alias = using or instance._state.db
        alias = alias or router.db_for_write(model, instance=instance)
        for target in watchlist.targets(model):
            record(target, instance=instance, action=action, using=alias)
