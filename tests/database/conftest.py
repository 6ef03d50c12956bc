"""Empty tables, and an outbox in which other processes have left rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.models import Model
from django.db.models.functions import Now
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests.support.databases import another_database
from tests.support.listening import Listen, listening
from tests.support.servers import DATABASES, PATIENCE, Postgres
from turbo.changes import captured, durability
from turbo.database.captured import relay as captured_relay
from turbo.database.captured import triggers
from turbo.database.models import CapturedStatement, OutboxEntry
from turbo.database.outbox import relay, tracking, writing
from turbo.delivery.broadcast import shut_down
from turbo.replay.base import Append, Appended
from turbo.replay.memory import MemoryReplay
from turbo.runtime.beginnings import begin

MARKS = {"postgres": [pytest.mark.processes]}


@pytest.fixture(params=[pytest.param(d, marks=MARKS.get(d, [])) for d in DATABASES])
def alias(request: pytest.FixtureRequest) -> str:
    """A database with empty tables."""
    request.getfixturevalue(f"{request.param}_tables")
    return str(request.param)


class Stuck(MemoryReplay):
    """A log that never answers."""

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        await asyncio.Event().wait()
        return []


class Outbox:
    """The outbox as a test sees it."""

    def rows(self, using: str = "default") -> list[OutboxEntry]:
        return list(OutboxEntry.objects.using(using).order_by("pk"))

    def die(self) -> None:
        """Leave the rows that are written from now on, as a process that is killed."""
        assert tracking.get_tracker().finish(PATIENCE)
        tracking.get_tracker().stop()

    def tell(self, using: str = "default") -> int:
        """Be another process, some time later: tell what is there, and delete it."""
        tracking.shut_down()
        self.age(using)
        count = relay.tell_left(using)
        assert tracking.get_tracker().finish(PATIENCE)
        return count

    def age(self, using: str = "default", *, seconds: float = 3_600) -> None:
        """Let so much time pass for the rows that may be tried again."""
        past = Now() - timedelta(seconds=seconds)
        OutboxEntry.objects.using(using).update(seen=past)


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    begin()  # what follows starts no thread that looks for rows
    monkeypatch.setattr(durability, "_durable", set())
    monkeypatch.setattr(writing, "_missing", {})
    yield Outbox()
    relay.rounds.stop()
    tracking.shut_down()
    for connection in connections.all(initialized_only=True):
        # The logged error of a failed statement keeps the frames that it came through,
        # and so the transaction that waited.
        vars(connection).get("_turbo_journal", []).clear()


@pytest.fixture
def everything(outbox: Outbox) -> Iterator[Outbox]:
    """The same, for all watched models."""
    with override_settings(TURBO={"OUTBOX": True}):
        yield outbox


@pytest.fixture
def stuck(outbox: Outbox) -> Iterator[Outbox]:
    """The same, with a replay log that never answers."""
    backend = f"{Stuck.__module__}.{Stuck.__name__}"
    with override_settings(TURBO={"OUTBOX": True, "REPLAY_BACKEND": backend}):
        yield outbox
        shut_down()


@pytest.fixture
def no_table(outbox: Outbox) -> Iterator[None]:
    """Let migrations be missing in the database ``default``."""
    with connections["default"].schema_editor() as editor:
        editor.delete_model(OutboxEntry)
    yield
    relay.rounds.stop()
    with connections["default"].schema_editor() as editor:
        editor.create_model(OutboxEntry)


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


def retried(heard: list[Any]) -> list[Any]:
    """Return the changes that were told from the outbox."""
    return [change for change in heard if change.retried]


#: The alias of the database with triggers.
CAPTURING = "capturing"


@pytest.fixture(scope="session")
def _capturing(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    settings = postgres.create("capturing")
    with django_db_blocker.unblock(), another_database(CAPTURING, settings):
        yield


class Capturing:
    """Captured models in PostgreSQL, as a test sees them."""

    def __call__(self, *models: type[Model]) -> None:
        """Capture models, and install their triggers."""
        for model in models:
            captured.capture(model)
        for made in triggers.registered():
            for trigger in made.triggers:
                trigger.install(made.cls, database=CAPTURING)

    def sql(self, text: str, *args: Any) -> None:
        """Run a statement of which Django knows nothing."""
        with connections[CAPTURING].cursor() as cursor:
            cursor.execute(text, args or None)

    def statements(self) -> list[CapturedStatement]:
        return list(CapturedStatement.objects.using(CAPTURING).order_by("pk"))

    def tell(self) -> int:
        """Be the relay; return how many entries have been told."""
        count = captured_relay.tell_captured(CAPTURING)
        assert tracking.get_tracker().finish(PATIENCE)
        assert not self.statements()
        assert not OutboxEntry.objects.using(CAPTURING).exists()
        return count


@pytest.fixture
def capture(
    _capturing: None,
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Capturing]:
    monkeypatch.setattr(captured, "_captured", set())
    monkeypatch.setattr(captured, "_known", {})
    with django_db_blocker.unblock():
        yield Capturing()
        captured_relay.rounds.stop()
        tracking.shut_down()
        for made in triggers.registered():
            for trigger in made.triggers:
                trigger.uninstall(made.cls, database=CAPTURING)
        for model in [made.cls._meta.concrete_model for made in triggers.registered()]:
            assert model is not None
            triggers.unregister(model)
        call_command("flush", database=CAPTURING, interactive=False, verbosity=0)
