"""
Changes of models, reported after the commit.

:func:`watch` calls a function once per object and transaction, and never for work that
was rolled back. :class:`ChangesQuerySet` and :func:`announce` report changes for which
Django sends no signals.
"""

from __future__ import annotations

from turbo.changes.announcements import announce
from turbo.changes.change import ModelChange
from turbo.changes.querysets import ChangesQuerySet
from turbo.changes.watching import watch
from turbo.changes.watchlist import Watch

__all__ = ["ChangesQuerySet", "ModelChange", "Watch", "announce", "watch"]
