"""Databases beside those of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytest_django import DjangoDbBlocker

from tests.support.databases import another_database
from tests.support.servers import Postgres

ALIAS = "bindings"


def postgres_database(
    postgres: Postgres, blocker: DjangoDbBlocker, *, name: str
) -> Iterator[str]:
    """
    The body of a fixture: the alias of a new database, with tables.

    A fixture of a module may be made anew, for tests come in any order.
    """
    settings = postgres.create(f"{name}-{uuid4().hex[:8]}")
    with blocker.unblock(), another_database(ALIAS, settings):
        yield ALIAS


def plain_sqlite(path: Path) -> dict[str, Any]:
    """Return the settings of a file as most projects have it."""
    # To wait for the disk would be all that the tests do.
    options = {"timeout": 60, "init_command": "PRAGMA synchronous=OFF"}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": options,
    }
