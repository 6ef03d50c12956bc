"""Databases with the tables of ``turbo.database``, beside those of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import connections

from turbo.database.models import ALL


def make_tables(alias: str, settings: Mapping[str, Any]) -> None:
    """Make all tables in a database that no alias leads to otherwise."""
    with an_alias(alias, settings):
        _in_thread(
            lambda: call_command(
                "migrate", database=alias, run_syncdb=True, verbosity=0
            )
        )


@contextmanager
def another_database(alias: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Let ``alias`` be a database with all tables."""
    make_tables(alias, settings)
    with an_alias(alias, settings):
        yield


@contextmanager
def an_alias(alias: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Let ``alias`` be a database."""
    configured = connections.configure_settings({"default": {}, alias: dict(settings)})
    connections.settings[alias] = configured[alias]
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            if connection.alias == alias:
                connection.close()
                del connections[alias]
        del connections.settings[alias]


def empty(alias: str) -> None:
    """Delete everything that ``turbo.database`` has kept."""
    _in_thread(lambda: [model.objects.using(alias).all().delete() for model in ALL])


def _in_thread(work: Callable[[], object]) -> None:
    """Use a database although an event loop may run in this thread."""

    def closing() -> None:
        try:
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(closing).result()
