"""The sample chat's management commands and its production settings."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.sample_chat.conftest import manage


def test_demo_prints_log_ins_and_is_idempotent(demo):
    printed = manage(demo, "demo")

    with closing(sqlite3.connect(demo / "db.sqlite3")) as database:
        rooms = database.execute("SELECT name FROM chat_room ORDER BY id").fetchall()
        users = database.execute("SELECT username FROM auth_user").fetchall()

    assert printed.splitlines() == [
        "Log in as ada with the password ada.",
        "Log in as grace with the password grace.",
    ]
    assert rooms == [("Lobby",), ("Kitchen",), ("Board room",), ("Weather log",)]
    assert users == [("ada",), ("grace",)]


def test_migrations_are_complete(demo):
    printed = manage(demo, "makemigrations", "--check", "--dry-run")

    assert printed.strip() == "No changes detected"


def test_embedded_settings_pass_the_checks(demo):
    printed = manage(demo, "check")

    assert printed.strip() == "System check identified no issues (0 silenced)."


def test_production_settings_pass_the_deployment_checks(demo):
    printed = manage(demo, "check", "--deploy", **PRODUCTION)

    assert printed.strip() == "System check identified no issues (0 silenced)."


@pytest.mark.parametrize("database", ["", "postgresql://chat@127.0.0.1/chat"])
def test_production_settings_need_no_redis(demo, database):
    variables = PRODUCTION | {"REDIS_URL": "", "DATABASE": database or str(demo / "x")}

    printed = manage(demo, "check", "--deploy", **variables)

    assert printed.strip() == "System check identified no issues (0 silenced)."


def test_the_deployment_checks_look_at_hosts(demo):
    printed = manage(demo, "check", "--deploy", **PRODUCTION | {"ALLOWED_HOSTS": "*"})

    assert "?: (turbo.W015) ALLOWED_HOSTS has '*', so WebSockets are" in printed
    assert "System check identified 1 issue (0 silenced)." in printed


PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "config.settings_production",
    "SECRET_KEY": "0123456789" * 6,
    "ALLOWED_HOSTS": "chat.example.org",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
}
