"""The migrations make the tables that the models describe."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests.settings import sqlite_database
from tests.support.databases import an_alias
from tests.support.servers import Postgres
from turbo.database.models import ALL

OWN = override_settings(MIGRATION_MODULES={})


@OWN
def test_nothing_is_missing(django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        call_command("makemigrations", "turbo_database", check=True, dry_run=True)


def tables(alias: str) -> set[str]:
    call_command("migrate", "turbo_database", database=alias, verbosity=0)
    names = set(connections[alias].introspection.table_names())
    call_command("migrate", "turbo_database", "zero", database=alias, verbosity=0)
    return {name for name in names if name != "django_migrations"}


@OWN
def test_sqlite_gets_every_table(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    settings = sqlite_database(tmp_path / "new.sqlite3")
    with django_db_blocker.unblock(), an_alias("new", settings):
        assert tables("new") == {model._meta.db_table for model in ALL}


@pytest.mark.processes
@OWN
def test_postgres_gets_every_table(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock(), an_alias("new", postgres.create("new")):
        assert tables("new") == {model._meta.db_table for model in ALL}
