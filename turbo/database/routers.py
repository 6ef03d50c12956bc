"""A router that keeps the tables of this app, and those of the site, where they are."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS

from turbo.conf import get_settings

__all__ = ["DatabaseRouter"]

LABEL = "turbo_database"
#: Models whose rows belong to a transaction of the site, so each database has a table.
EVERYWHERE: frozenset[str] = frozenset({"capturedstatement", "outboxentry"})


class DatabaseRouter:
    """
    Let ``TURBO["DATABASE"]`` have the tables of this app, and no others if it is apart.

    Name it in ``DATABASE_ROUTERS`` if the alias is not ``"default"``.
    """

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """Return the database of this app's tables."""
        return self._own(model._meta.app_label, model._meta.model_name)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Return the database of this app's tables."""
        return self._own(model._meta.app_label, model._meta.model_name)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Return whether a table is made in a database."""
        alias = get_settings().database
        if app_label == LABEL:
            return model_name is None or model_name in EVERYWHERE or db == alias
        return False if db == alias != DEFAULT_DB_ALIAS else None

    def _own(self, app_label: str, model_name: str) -> str | None:
        if app_label != LABEL or model_name in EVERYWHERE:
            return None
        return get_settings().database
