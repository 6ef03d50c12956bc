"""What a project without Redis is told before it starts, and where its tables are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests.settings import sqlite_database
from tests.support.databases import an_alias
from turbo.database.checks import check_database
from turbo.database.layer import DatabaseLayer
from turbo.database.replay import DatabaseReplay
from turbo.replay import check_replay, get_replay

LAYERS = {"default": {"BACKEND": "turbo.database.layer.DatabaseLayer"}}
ROUTERS = ["turbo.database.routers.DatabaseRouter"]


@pytest.fixture(autouse=True)
def _in_the_database() -> Iterator[None]:
    with override_settings(CHANNEL_LAYERS=LAYERS):
        yield


@pytest.fixture
def file_of_its_own(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    path = tmp_path / "turbo.sqlite3"
    with django_db_blocker.unblock(), an_alias("turbo", sqlite_database(path)):
        yield "turbo"


def ids(**turbo: Any) -> list[str | None]:
    with override_settings(TURBO=turbo):
        return [message.id for message in check_database()]


def test_the_layer_chooses_the_log() -> None:
    assert isinstance(get_replay(), DatabaseReplay)
    assert check_replay() == []


def test_a_log_of_one_process_does_not_fit() -> None:
    with override_settings(
        TURBO={"REPLAY_BACKEND": "turbo.replay.memory.MemoryReplay"}
    ):
        assert [message.id for message in check_replay()] == ["turbo.W021"]


def test_who_has_another_layer_and_log_is_told_nothing() -> None:
    layers = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with override_settings(CHANNEL_LAYERS=layers):
        assert ids(DATABASE="nowhere") == []


def test_an_alias_that_does_not_exist() -> None:
    assert ids(DATABASE="nowhere") == ["turbo.E080"]


def test_the_file_of_the_site() -> None:
    assert ids() == ["turbo.W080"]


def test_a_file_of_its_own_needs_the_router(file_of_its_own: str) -> None:
    assert ids(DATABASE="turbo") == ["turbo.W081"]
    with override_settings(DATABASE_ROUTERS=ROUTERS):
        assert ids(DATABASE="turbo") == []
        assert ids(DATABASE="other") == []


def test_a_router_that_forbids_the_tables(file_of_its_own: str) -> None:
    with override_settings(DATABASE_ROUTERS=[f"{__name__}.Never"]):
        assert "turbo.W081" in ids(DATABASE="turbo")


class Never:
    def allow_migrate(self, *args: Any, **hints: Any) -> bool:
        return False


@override_settings(DATABASE_ROUTERS=ROUTERS, TURBO={"DATABASE": "turbo"})
def test_the_file_has_the_tables_of_this_app_and_no_others(
    file_of_its_own: str,
) -> None:
    call_command("migrate", database="turbo", run_syncdb=True, verbosity=0)

    tables = set(connections["turbo"].introspection.table_names())
    assert {name for name in tables if not name.startswith("turbo_database_")} <= {
        "django_migrations"
    }
    assert "turbo_database_logstream" in tables


@override_settings(DATABASE_ROUTERS=ROUTERS, TURBO={"DATABASE": "turbo"})
def test_the_site_does_not_have_these_tables(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker, file_of_its_own: str
) -> None:
    path = tmp_path / "site.sqlite3"
    with django_db_blocker.unblock(), an_alias("site", sqlite_database(path)):
        call_command("migrate", database="site", run_syncdb=True, verbosity=0)
        tables = connections["site"].introspection.table_names()

    assert "auth_user" in tables
    assert not [name for name in tables if name.startswith("turbo_database_l")]


def test_the_layer_takes_its_options_from_the_settings() -> None:
    with override_settings(TURBO={"DATABASE": "other"}):
        layer = DatabaseLayer(channel_capacity={"slow.*": 7})

    assert layer.get_capacity("slow.1") == 7
    assert layer.get_capacity("fast") == layer.capacity


async def test_an_alias_that_does_not_exist_is_an_error_and_no_silence() -> None:
    log = DatabaseReplay(alias="nowhere")

    with pytest.raises(Exception, match="nowhere"):
        await log.read([("s", "")])
    await log.aclose()
