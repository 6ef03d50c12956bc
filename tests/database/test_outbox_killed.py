"""A change survives SIGKILL at the worst places, on each database."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.full import for_full_runs
from tests.support.servers import (
    PATIENCE,
    ROOT,
    Project,
    Valkey,
    channel_layer,
    free_port,
    wait_until,
)
from turbo.delivery.names import stream_id

WORDS = ["verb", "saved"]

#: What must reach the pages, by the place where the writer is killed.
WAYS = {
    "after the commit": WORDS,
    "after the commit of a save": ["saved"],
    "before the append": WORDS,
}
DURABLE = {"OUTBOX": True}


SAVE = (
    "from tests.testapp.models import Message;"
    'Message.objects.create(room_id=1, text="saved")'
)


def write(project: Project, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.project.killed", way],
        env=project.env,
        cwd=ROOT,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@contextmanager
def running(project: Project, command: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "django", command], env=project.env, cwd=ROOT
    )
    try:
        yield
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def stored(valkey: Valkey, name: str) -> list[str]:
    """Return which of the words the messages of a stream have; gaps have none."""
    with valkey.client() as client:
        entries: Any = client.xrange(f"turbo:{{{stream_id(name)}}}:log")
    texts = [fields.get("d", "") for _, fields in entries]
    return [word for text in texts for word in WORDS if word in text]


def rows(project: Project) -> int:
    code = (
        "from turbo.database.models import OutboxEntry;"
        "print(OutboxEntry.objects.count())"
    )
    return int(project.shell(code))


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgres", marks=for_full_runs)]
)
@pytest.mark.parametrize("way", WAYS)
def test_what_was_committed_is_told_by_another_process(
    way: str, database: str, valkey: Valkey, make_project: Callable[..., Project]
) -> None:
    project = make_project("redis", database=database, TURBO=DURABLE)
    # The writer's Redis does not answer, so it is killed before anything is appended.
    away = channel_layer("redis", f"redis://127.0.0.1:{free_port()}/0")
    settings = {**project.settings, "CHANNEL_LAYERS": {"default": away}}
    lobby = project.shell(
        "from tests.testapp.models import Room;"
        'print(Room.objects.get(name="Lobby").stream.stream_name)'
    )

    write(Project(project.directory, settings), way)
    assert stored(valkey, lobby) == []
    assert rows(project) == 1
    with running(project, "turbo_relay"):
        wait_until(lambda: stored(valkey, lobby) == WAYS[way])

    assert rows(project) == 0


def test_a_server_that_starts_tells_it(
    valkey: Valkey, make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    """Nothing else has to run, and no page has to be open."""
    project = make_project("redis", TURBO=DURABLE)

    write(project, "after the commit of a save")
    server = daphne(project)
    with urlopen(f"{server.url}/rooms/1/"):
        pass

    wait_until(lambda: stored(valkey, "testapp:RoomStream:1") == ["saved"])


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_what_was_not_committed_leaves_nothing(
    database: str, make_project: Callable[..., Project]
) -> None:
    project = make_project(database=database, TURBO=DURABLE)

    write(project, "before the commit")

    assert rows(project) == 0


def test_a_process_that_ends_leaves_nothing(
    valkey: Valkey, make_project: Callable[..., Project]
) -> None:
    """Or each restart would tell changes twice."""
    project = make_project("redis", TURBO=DURABLE)

    project.shell(SAVE)

    assert stored(valkey, "testapp:RoomStream:1") == ["saved"]
    assert rows(project) == 0


def test_a_process_that_ends_while_redis_is_away_leaves_its_changes(
    make_project: Callable[..., Project],
) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    turbo = {**DURABLE, "FLUSH_TIMEOUT": 0.1}
    project = make_project("redis", redis=away, TURBO=turbo)

    project.shell(SAVE)

    assert rows(project) == 1


def test_without_the_outbox_it_is_lost(
    valkey: Valkey, make_project: Callable[..., Project]
) -> None:
    project = make_project("redis")

    write(project, "after the commit of a save")

    assert rows(project) == 0
    assert stored(valkey, "testapp:RoomStream:1") == []
