"""The bindings that the project declares."""

from __future__ import annotations

from collections.abc import Iterator

from turbo.bindings.cache.declaration import Declaration
from turbo.bindings.cache.following import follow, unfollow
from turbo.bindings.cache.outage import with_store
from turbo.bindings.store import Slot
from turbo.exceptions import ConfigurationError
from turbo.runtime.discovery import Home, declared
from turbo.streams.registry import label_of, place_of

__all__ = ["classes", "kept", "register", "unregister"]

HOME = Home(app="turbo.bindings", module="bindings")

_classes: dict[str, type[Declaration]] = {}


def register(cls: type[Declaration]) -> None:
    """Register a class under its label, and watch the models it depends on."""
    label = cls.label = label_of(cls)
    known = _classes.get(label)
    if known is not None:
        places = [place_of(it, it.model) for it in (known, cls)]
        if places[0] != places[1]:  # otherwise the module is imported again
            raise ConfigurationError(
                f"Two bindings are called {label!r}: one in {places[0]}, one in "
                f"{places[1]}. Rename one."
            )
        unfollow(known)
    _classes[label] = cls
    declared(cls, HOME)
    follow(cls)


def unregister(cls: type[Declaration]) -> None:
    """Remove a class; its rows in the store are no longer updated."""
    if _classes.get(cls.label) is cls:
        del _classes[cls.label]
        unfollow(cls)


def classes() -> list[type[Declaration]]:
    """Return all classes, sorted by label."""
    return [_classes[label] for label in sorted(_classes)]


def kept(cls: type[Declaration]) -> Iterator[tuple[Slot, Declaration | None]]:
    """
    Yield the slots of a class in the store, each with its binding.

    The binding is ``None`` if a process that runs other code has filled the slot.
    """
    [names] = with_store(lambda store: store.names([cls.group()]))
    for name in names:
        yield Slot(cls.group(), name), cls.from_slot_name(name)
