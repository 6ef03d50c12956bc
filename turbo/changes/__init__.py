"""
The one source of changes: what the models' signals say, told after the commit.

:func:`watch` calls back once per object and transaction, and never for work that was
rolled back. :class:`ChangesQuerySet` and :func:`announce` speak for the calls for which
Django sends no signals.
"""

from __future__ import annotations

from turbo.changes.announcements import announce
from turbo.changes.change import ModelChange
from turbo.changes.querysets import ChangesQuerySet
from turbo.changes.watching import watch
from turbo.changes.watchlist import Watch

__all__ = ["ChangesQuerySet", "ModelChange", "Watch", "announce", "watch"]
