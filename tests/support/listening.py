"""Watching models in a test, and comparing what was heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias

from django.db import transaction
from django.db.models import Model

from turbo.changes import ModelChange, Watch, watch


class Heard(list[ModelChange]):
    """The changes that one watch was told of, in order."""

    watch: Watch

    @property
    def actions(self) -> list[tuple[str, Any]]:
        """Each change as ``("create", pk)``."""
        return [(change.action, change.pk) for change in self]


Listen: TypeAlias = Callable[..., Heard]


def listening() -> Iterator[Listen]:
    """The body of a fixture: ``heard = listen(Room)``, stopped after the test."""
    with ExitStack() as stack:

        def listen(model: type[Model], **options: Any) -> Heard:
            heard = Heard()
            heard.watch = watch(model, heard.append, **options)
            stack.callback(heard.watch.stop)
            return heard

        yield listen


class Undo(Exception):
    """What goes wrong in a block that is rolled back."""


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """A block of work, a savepoint if inside another, that is undone at its end."""
    with suppress(Undo), transaction.atomic(using=using):
        yield
        raise Undo
