"""``manage.py turbo_bindings``: list and maintain the cached rows."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from turbo.bindings.binding import Binding
from turbo.bindings.cache.declaration import Declaration
from turbo.bindings.cache.outage import Unreachable, invalidate, with_store
from turbo.bindings.cache.registry import classes, kept

__all__ = ["Command"]


class Command(BaseCommand):
    """
    List, synchronise, bump or clear the cached rows of bindings.

    ``sync`` reads all rows from the database again, which repairs changes that
    bypassed Django, and sends the differences to the clients. ``bump`` makes a new
    version of the same content. ``clear`` removes the rows from the cache.
    """

    help = "List, sync, bump or clear the cached rows of bindings."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add arguments for an action and the labels of bindings, by default all."""
        parser.add_argument("action", choices=["list", "sync", "bump", "clear"])
        parser.add_argument("label", nargs="*", help="a binding, as list prints it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action."""
        action = getattr(self, f"_{options['action']}")
        try:
            for cls in _chosen(options["label"]):
                self._each(cls, action)
        except Unreachable as error:
            raise CommandError(
                f"The store is unreachable: {error.__cause__}"
            ) from error

    def _each(self, cls: type[Declaration], action: Any) -> None:
        found = False
        for slot, binding in kept(cls):
            found = True
            if isinstance(binding, Binding):
                self.stdout.write(f"{_title(binding)}: {action(binding)}")
            elif action == self._list:
                self.stdout.write(f"{cls.label}: cached by other code")
            else:
                with_store(partial(invalidate, slot=slot))
        if not found and action == self._list:
            self.stdout.write(f"{cls.label}: not cached")

    def _list(self, binding: Binding) -> str:
        snapshot = binding.snapshot()
        if snapshot.state is None:
            return "unreachable"
        rows = len(snapshot.texts)
        return f"version {snapshot.state.version}, {rows} rows, {binding.last_modified}"

    def _sync(self, binding: Binding) -> str:
        return f"{binding.refresh()} changes"

    def _bump(self, binding: Binding) -> str:
        binding.bump()
        return f"version {binding.version}"

    def _clear(self, binding: Binding) -> str:
        binding.clear()
        return "cleared"


def _chosen(labels: list[str]) -> Iterator[type[Declaration]]:
    known = {cls.label: cls for cls in classes()}
    for label in labels or known:
        if label not in known:
            raise CommandError(
                f"There is no binding {label!r}. Known bindings: "
                f"{', '.join(known) or 'none'}."
            )
        yield known[label]


def _title(binding: Binding) -> str:
    params = ", ".join(f"{name}={getattr(binding, name)!r}" for name in binding.params)
    return f"{binding.label}({params})" if params else binding.label
