"""Watch models in a test, and collect their changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias

from django.db import transaction
from django.db.models import Model

from turbo.changes import ModelChange, Watch, watch


class Heard(list[ModelChange]):
    """The changes that one watch has reported, in order."""

    watch: Watch

    @property
    def actions(self) -> list[tuple[str, Any]]:
        """Return each change as ``("create", pk)``."""
        return [(change.action, change.pk) for change in self]


Listen: TypeAlias = Callable[..., Heard]


def listening() -> Iterator[Listen]:
    """Yield a function for a fixture: ``heard = listen(Room)`` until the test ends."""
    with ExitStack() as stack:

        def listen(model: type[Model], **options: Any) -> Heard:
            heard = Heard()
            heard.watch = watch(model, heard.append, **options)
            stack.callback(heard.watch.stop)
            return heard

        yield listen


class Undo(Exception):
    """The error that rolls a block back."""


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """Roll back the block at its end; inside a transaction it is a savepoint."""
    with suppress(Undo), transaction.atomic(using=using):
        yield
        raise Undo
