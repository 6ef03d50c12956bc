"""Another program writes, and of the site nothing runs but a relay or a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest
from django.conf import settings

from tests.database.test_outbox_killed import running
from tests.support.servers import PATIENCE, Postgres, Project, Valkey, wait_until
from turbo.delivery.names import stream_id

APPS = [*settings.INSTALLED_APPS, "tests.project.capturing.CapturingConfig"]


@pytest.fixture
def project(valkey: Valkey, make_project: Callable[..., Project]) -> Project:
    project = make_project("redis", database="postgres", INSTALLED_APPS=APPS)
    project.shell("import pgtrigger; pgtrigger.install()")
    return project


def write(project: Project, postgres: Postgres, *texts: str) -> None:
    name = project.settings["DATABASES"]["default"]["NAME"]
    with psycopg.connect(postgres.dsn(name)) as connection:
        for text in texts:
            connection.execute(
                "INSERT INTO testapp_message (room_id, text, edited) "
                "SELECT min(id), %s, false FROM testapp_room",
                [text],
            )


def told(valkey: Valkey, *texts: str) -> list[str]:
    """Return which of the texts are in the messages to the pages of the Lobby."""
    with valkey.client() as client:
        entries: Any = client.xrange(
            f"turbo:{{{stream_id('testapp:RoomStream:1')}}}:log"
        )
    data = [fields.get("d", "") for _, fields in entries]
    return [text for item in data for text in texts if text in item]


def test_a_relay_tells_it(project: Project, valkey: Valkey, postgres: Postgres) -> None:
    write(project, postgres, "first", "second")

    with running(project, "turbo_relay"):
        wait_until(lambda: told(valkey, "first", "second") == ["first", "second"])
        write(project, postgres, "third")
        wait_until(lambda: told(valkey, "third") == ["third"])

    assert told(valkey, "first", "second", "third") == ["first", "second", "third"]


def test_servers_tell_it_once(
    project: Project,
    valkey: Valkey,
    postgres: Postgres,
    daphne: Callable[..., Any],
) -> None:
    for _ in range(2):
        server = daphne(project)
        with urlopen(f"{server.url}/rooms/1/", timeout=PATIENCE):
            pass
    texts = [f"text-{number:03}" for number in range(50)]

    for text in texts:
        write(project, postgres, text)

    wait_until(lambda: len(told(valkey, *texts)) == 50)
    assert sorted(told(valkey, *texts)) == texts
