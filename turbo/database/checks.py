"""The system checks of what is kept in the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from turbo.conf import get_settings, layer_is_of
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay

__all__ = ["check_database"]

PACKAGE = "turbo.database."


def check_database(**kwargs: Any) -> list[CheckMessage]:
    """Check ``TURBO["DATABASE"]`` if it is used; this asks no database."""
    try:
        log = type(get_replay()).__module__
        if not (layer_is_of(PACKAGE) or log.startswith(PACKAGE)):
            return []
    except (ConfigurationError, ImportError):
        return []  # other checks report errors in the settings
    alias = get_settings().database
    if alias not in connections:
        return [
            Error(
                f"TURBO['DATABASE'] is {alias!r}, which is not in DATABASES.",
                hint=f"DATABASES has {', '.join(map(repr, settings.DATABASES))}.",
                id="turbo.E080",
            )
        ]
    return [*_check_file(connections[alias]), *_check_tables(alias)]


def _check_file(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if connection.vendor == "sqlite" and connection.alias == DEFAULT_DB_ALIAS:
        yield Warning(
            "The log and the channel layer are in the site's own SQLite file, where "
            "one process at a time can write.",
            hint="Give them a file: add it to DATABASES, name it in TURBO['DATABASE'] "
            "and add turbo.database.routers.DatabaseRouter to DATABASE_ROUTERS.",
            id="turbo.W080",
        )


def _check_tables(alias: str) -> Iterator[CheckMessage]:
    table = apps.get_model("turbo_database", "LogStream")
    if not router.allow_migrate_model(alias, table):
        yield Warning(
            f"No router lets 'migrate' make the tables of turbo.database in {alias!r}.",
            hint="Put turbo.database.routers.DatabaseRouter first in DATABASE_ROUTERS.",
            id="turbo.W081",
        )
    if alias == DEFAULT_DB_ALIAS:
        return
    if router.allow_migrate_model(DEFAULT_DB_ALIAS, table):
        yield Warning(
            f"Without a router, 'migrate' makes the tables of turbo.database in each "
            f"database, and those of the site in {alias!r}.",
            hint="Add turbo.database.routers.DatabaseRouter to DATABASE_ROUTERS.",
            id="turbo.W081",
        )
