"""The watches of all models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import Model

from turbo.changes.change import ModelChange, image, restore_keys
from turbo.changes.foreign_keys import ForeignKeys, cascading_keys, foreign_keys
from turbo.conf import get_settings
from turbo.runtime.forks import Lock

__all__ = ["Target", "Watch", "Watchlist", "concrete_classes", "watchlist"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Watch:
    """One call of :func:`~turbo.changes.watch`, until :meth:`stop`."""

    model: type[Model]
    callback: Callable[[ModelChange], object]
    mark: Callable[[], Any] | None
    before: Callable[[Any], Any] | None
    reads: Collection[str] | None
    raw: bool | None
    many: Callable[[str], object] | None
    release: Callable[[Watch], None]

    def stop(self) -> None:
        """Stop calling back, also for changes that are not committed yet."""
        self.release(self)

    def covers(self, model: type[Model]) -> bool:
        """Return whether rows of the concrete class ``model`` are watched."""
        if self.model._meta.abstract:
            return issubclass(model, self.model)
        return model is self.model._meta.concrete_model

    def form(self, instance: Model, model: type[Model], *, stored: bool) -> Model:
        """Return ``instance`` as an instance of the watched proxy or parent."""
        wanted = model if self.model._meta.abstract else self.model
        own = type(instance)._meta.concrete_model is model
        if not (own and isinstance(instance, wanted)):
            instance = image(instance, wanted, stored=stored)
        restore_keys(instance)
        return instance

    def hears(self, *, raw: bool) -> bool:
        """Return whether the watch gets a signal; ``raw`` ones come from fixtures."""
        if not raw:
            return True
        return get_settings().announce_raw if self.raw is None else self.raw


@dataclass(frozen=True, eq=False)
class Target:
    """A concrete model whose rows a sender writes, and its watches."""

    model: type[Model]
    watches: tuple[Watch, ...]

    @cached_property
    def no_marks(self) -> Mapping[Watch, None] | None:
        """The watches, if none of them has a ``mark()``; all records share this."""
        has_marks = any(watch.mark for watch in self.watches)
        return None if has_marks else dict.fromkeys(self.watches)

    @cached_property
    def looks_back(self) -> bool:
        """Whether a watch needs the row as it was before the write."""
        return any(watch.before for watch in self.watches)

    @cached_property
    def reads(self) -> ForeignKeys | None:
        """All that the watches need of that row; ``None`` if it may be anything."""
        names: set[str] = set()
        for watch in self.watches:
            if watch.before is not None:
                if watch.reads is None:
                    return None
                names.update(watch.reads)
        return foreign_keys(self.model, sorted(names))

    @cached_property
    def cascades(self) -> bool:
        """Whether deletes of other rows can delete these."""
        return bool(cascading_keys(self.model))

    def is_of(self, sender: type[Model]) -> bool:
        """Return whether these rows are those of ``sender`` and not of a parent."""
        return self.model is sender._meta.concrete_model

    def has_read(self, instance: Model) -> bool:
        """Return whether ``instance`` has all that the watches need of its row."""
        values = vars(instance)
        return self.reads is not None and all(f.attname in values for f in self.reads)

    def reads_any(self, names: Collection[str]) -> bool:
        """Return whether a watch needs one of these fields of that row."""
        if not self.looks_back or self.reads is None:
            return self.looks_back
        return any(
            field.name in names or field.attname in names for field in self.reads
        )


class Watchlist:
    """
    All watches.

    Reading takes no lock, because the values are replaced and never changed.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # held while values are replaced
        self._watches: tuple[Watch, ...] = ()
        self._targets: dict[type[Model], tuple[Target, ...]] = {}

    def __contains__(self, watch: object) -> bool:
        return watch in self._watches

    def __iter__(self) -> Iterator[Watch]:
        return iter(self._watches)

    def add(self, watch: Watch) -> None:
        """Add a watch; it gets changes from now on."""
        with self._lock:
            self._watches += (watch,)
            self._targets = {}

    def remove(self, watch: Watch) -> None:
        """Remove a watch; it gets no changes from now on."""
        with self._lock:
            self._watches = tuple(w for w in self._watches if w is not watch)
            self._targets = {}

    def targets(self, sender: type[Model]) -> tuple[Target, ...]:
        """
        Return the watched models whose rows a save of ``sender`` writes.

        Its own concrete model comes first, if it is watched, then the parents with
        tables of their own.
        """
        known = self._targets
        targets = known.get(sender) or tuple(self._find(sender))
        if targets:  # classes that migrations make are used once and not kept
            known[sender] = targets
        return targets

    def own(self, sender: type[Model]) -> tuple[Target, ...]:
        """Return the target that is not a parent of ``sender``, if there is one."""
        targets = self.targets(sender)  # at most the first one
        return targets[:1] if targets and targets[0].is_of(sender) else ()

    def _find(self, sender: type[Model]) -> Iterator[Target]:
        concrete = sender._meta.concrete_model
        assert concrete is not None, "an abstract model sends nothing"
        for model in (concrete, *concrete._meta.all_parents):
            watches = tuple(w for w in self._watches if w.covers(model))
            if watches:
                yield Target(model, watches)


watchlist = Watchlist()


def concrete_classes(model: type[Model]) -> Iterator[type[Model]]:
    """Yield those of ``model`` and its subclasses that can send signals."""
    if not (model._meta.abstract or model._meta.swapped):
        yield model
    for subclass in model.__subclasses__():
        yield from concrete_classes(subclass)
