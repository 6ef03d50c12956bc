"""A PostgreSQL database beside those of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

from django.core.management import call_command
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.support.servers import Postgres

ALIAS = "postgres"


def postgres_database(
    postgres: Postgres, blocker: DjangoDbBlocker, *, name: str
) -> Iterator[str]:
    """
    The body of a fixture: the alias of a new database, with tables.

    A fixture of a module may be made anew, for tests come in any order.
    """
    settings = {"default": postgres.create(f"{name}-{uuid4().hex[:8]}")}
    connections.settings[ALIAS] = connections.configure_settings(settings)["default"]
    with blocker.unblock():
        call_command("migrate", database=ALIAS, run_syncdb=True, verbosity=0)
        yield ALIAS
        connections[ALIAS].close()
        del connections[ALIAS]
    del connections.settings[ALIAS]
