"""
The durable models, whose changes an outbox keeps until they have been told.

Under autocommit, Django commits a save before it sends ``post_save``. So the save of a
durable model is a transaction: its change is written into the outbox before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from turbo.changes.transaction import in_transaction
from turbo.changes.watchlist import concrete_classes, watchlist
from turbo.conf import get_settings

__all__ = [
    "durable",
    "durable_models",
    "install",
    "is_durable",
    "is_ours",
    "is_used",
    "prepare",
]

#: The status of a transaction of PostgreSQL in which a statement has failed.
IN_ERROR = 3

#: The place of ``using`` among the arguments of ``save_base()``.
USING = 3

_MARK = "_turbo_in_transaction"
_OWN = "_turbo_own_transaction"

_durable: set[type[Model]] = set()
_is_installed = False


def durable(model: type[Model]) -> None:
    """
    Let each committed change of ``model`` be told, even if its process is killed.

    An abstract model stands for all models that inherit from it, and a proxy for the
    model that it proxies.
    """
    _durable.add(model._meta.concrete_model or model)


def durable_models() -> list[type[Model]]:
    """Return the models that were declared to be durable."""
    return sorted(_durable, key=lambda model: model._meta.label)


def is_used() -> bool:
    """Return whether there are durable models."""
    return get_settings().outbox or bool(_durable)


def is_durable(model: type[Model]) -> bool:
    """Return whether the changes of a watched model are durable."""
    return get_settings().outbox or not _durable.isdisjoint(model.__mro__)


def install() -> None:
    """Let the saves of durable models be transactions, from now on."""
    global _is_installed
    _is_installed = True
    for watch in watchlist:
        for cls in concrete_classes(watch.model):
            prepare(cls)


def prepare(cls: type[Model]) -> None:
    """Let ``save()`` of a watched class be a transaction while it is durable."""
    if _is_installed and not hasattr(cls.save_base, _MARK):
        cls.save_base = _in_transaction(cls.save_base)  # type: ignore[method-assign]


def _in_transaction(save: Callable[..., None]) -> Callable[..., None]:
    @wraps(save)
    def save_base(self: Model, *args: Any, **kwargs: Any) -> None:
        given = args[USING] if len(args) > USING else kwargs.get("using")
        using = given or router.db_for_write(type(self), instance=self)
        if len(args) > USING:
            args = (*args[:USING], using, *args[USING + 1 :])
        else:
            kwargs["using"] = using
        connection = connections[using]
        if in_transaction(connection) or not _writes_durable(type(self)):
            save(self, *args, **kwargs)
            return
        with transaction.atomic(using=using, savepoint=False), _own(connection):
            save(self, *args, **kwargs)
            if _is_ended(connection):
                raise transaction.TransactionManagementError(
                    f"A receiver of post_save for {type(self)._meta.label} has caught "
                    f"an error of the database, which ends the transaction of this "
                    f"save. Catch it around an atomic() block of the receiver's own."
                )

    setattr(save_base, _MARK, True)
    return save_base


@contextmanager
def _own(connection: BaseDatabaseWrapper) -> Iterator[None]:
    vars(connection)[_OWN] = True
    try:
        yield
    finally:
        del vars(connection)[_OWN]


def is_ours(using: str) -> bool:
    """Return whether a transaction is there because the saved model is durable."""
    return bool(vars(connections[using]).get(_OWN))


def _is_ended(connection: Any) -> bool:
    """Return whether a commit would be a rollback of which nobody is told."""
    if connection.needs_rollback or connection.vendor != "postgresql":
        return bool(connection.needs_rollback)
    return bool(connection.connection.info.transaction_status == IN_ERROR)


def _writes_durable(sender: type[Model]) -> bool:
    return any(is_durable(target.model) for target in watchlist.targets(sender))
