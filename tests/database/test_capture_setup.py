"""What the checks and the doctor say, and the migration that makes the triggers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test import modify_settings

import turbo
from tests.database.conftest import CAPTURING, Capturing, Outbox
from tests.support.listening import Listen
from tests.support.servers import PATIENCE, ROOT, Postgres
from tests.testapp.models import AbstractBase, Child, Concrete, Parent, Room
from turbo.changes import captured, durability
from turbo.checks.finding import Finding
from turbo.database import capture as capture_model
from turbo.database.captured import relay
from turbo.database.captured.checks import check_capture, examine_capture
from turbo.database.captured.signals import LIMIT
from turbo.database.models import CapturedStatement


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Capture models without triggers."""
    monkeypatch.setattr(captured, "_captured", set())
    monkeypatch.setattr(captured, "_known", {})
    monkeypatch.setattr(captured, "_callback", None)
    monkeypatch.setattr(durability, "_durable", set())
    return capture_model


def on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "postgresql", raising=False)


def ids() -> list[str | None]:
    return [check.id for check in check_capture()]


def test_a_captured_model_is_durable(declared: Callable[..., None]) -> None:
    declared(Room)

    assert durability.is_durable(Room)


@pytest.mark.usefixtures("declaring")
def test_a_stream_class_captures_its_model(declared: Callable[..., None]) -> None:
    class CapturedStream(turbo.ModelStream):
        class Meta:
            model = Concrete
            attribute = "captured_stream"
            app_label = "tests"
            capture = True

    try:
        assert captured.is_captured(Concrete)
    finally:
        del Concrete.captured_stream  # type: ignore[attr-defined]


def test_the_tables_of_a_child_and_of_an_abstract_model(
    declared: Callable[..., None],
) -> None:
    declared(Child)
    declared(AbstractBase)

    assert captured.is_captured(Parent)
    assert captured.is_captured(Concrete)
    assert not captured.is_captured(Room)


def test_nothing_is_checked_if_nothing_is_captured(
    declared: Callable[..., None],
) -> None:
    assert check_capture() == []
    assert list(examine_capture()) == []


def test_another_database_captures_nothing(declared: Callable[..., None]) -> None:
    declared(Room)
    declared(Child)

    assert ids() == ["turbo.W041"]


@pytest.mark.django_db(transaction=True)
def test_in_another_database_saves_are_told(
    declared: Callable[..., None], outbox: Outbox, listen: Listen
) -> None:
    declared(Room)
    heard = listen(Room)

    room = Room.objects.create(name="a")
    with turbo.suppress():
        room.save()
    Room.objects.update(name="b")

    assert heard.actions == [("create", room.pk)]
    assert "default" not in relay.aliases()


def test_triggers_need_pgtrigger(
    declared: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared(Room)
    on_postgres(monkeypatch)

    assert ids() == []
    with modify_settings(INSTALLED_APPS={"remove": "pgtrigger"}):
        [check] = check_capture()

    assert check.id == "turbo.E041"
    assert check.msg.startswith("testapp.Room: ")


def test_a_model_of_a_package_needs_a_proxy(
    declared: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_postgres(monkeypatch)
    proxy = type(
        "OwnGroup",
        (Group,),
        {
            "__module__": "tests.testapp.models",
            "Meta": type("Meta", (), {"proxy": True, "app_label": "testapp"}),
        },
    )
    try:
        declared(User)
        declared(Group)
        first, second = check_capture()
        assert first.id == second.id == "turbo.W042"
        assert first.msg.startswith("auth.Group is captured, ")

        declared(proxy)
        [check] = check_capture()
        assert check.obj is User
    finally:
        registry = proxy._meta.apps  # type: ignore[attr-defined]
        del registry.all_models["testapp"]["owngroup"]
        registry.clear_cache()


# --- The doctor


def examined() -> list[Finding]:
    """Return what is said about the database of these tests."""
    return [finding for finding in examine_capture() if CAPTURING in finding.text]


@pytest.mark.processes
def test_the_doctor_knows_the_triggers(capture: Capturing) -> None:
    """A model may be captured twice."""
    captured.capture(Room)
    capture(Room)
    assert [finding.decision for finding in examined()] == ["ok", "ok"]
    capture.sql("INSERT INTO testapp_room VALUES (1, 'a', true)")
    name = "pgtrigger_turbo_update"
    capture.sql(
        "DO $$ DECLARE name text; BEGIN SELECT tgname INTO name FROM pg_trigger "
        f"WHERE tgname LIKE '{name}%'; "
        "EXECUTE format('DROP TRIGGER %I ON testapp_room', name); "
        "SELECT tgname INTO name FROM pg_trigger "
        "WHERE tgname LIKE 'pgtrigger_turbo_insert%'; "
        "EXECUTE format('ALTER TABLE testapp_room DISABLE TRIGGER %I', name); "
        "SELECT tgname INTO name FROM pg_trigger "
        "WHERE tgname LIKE 'pgtrigger_turbo_delete%'; "
        "EXECUTE format('COMMENT ON TRIGGER %I ON testapp_room IS ''old''', name); "
        "END $$"
    )

    wrong, waiting = examined()

    assert wrong.decision == "failure"
    assert wrong.text == (
        "The triggers in 'capturing' are not those of the code: turbo_insert of "
        "testapp.Room is disabled, turbo_update of testapp.Room is missing, "
        "turbo_delete of testapp.Room is outdated."
    )
    assert waiting == Finding.ok("1 captured statements wait in 'capturing'.")


@pytest.mark.processes
def test_the_doctor_knows_who_is_not_heard(capture: Capturing) -> None:
    capture(Room)
    capture.sql("CREATE ROLE visitor LOGIN")
    try:
        capture.sql("GRANT SELECT, UPDATE ON testapp_room TO visitor")
        rights = examined()[1]
    finally:
        capture.sql("DROP OWNED BY visitor")
        capture.sql("DROP ROLE visitor")

    assert rights == Finding.failure(
        "In 'capturing', changes of these users are not captured: visitor.",
        "GRANT INSERT ON turbo_database_capturedstatement TO visitor;",
    )


@pytest.mark.processes
def test_the_doctor_misses_the_table(capture: Capturing) -> None:
    capture(Room)
    table = CapturedStatement._meta.db_table
    capture.sql(f"ALTER TABLE {table} RENAME TO away")
    try:
        [missing] = examined()
    finally:
        capture.sql(f"ALTER TABLE away RENAME TO {table}")

    assert (
        missing.hint == f"Run manage.py migrate turbo_database --database {CAPTURING}."
    )


# --- Migrations

MODELS = """
from django.contrib.auth.models import Group
from django.db import models

import turbo.database


class Note(models.Model):
    text = models.TextField()


class OwnGroup(Group):
    class Meta:
        proxy = True


turbo.database.capture(Note)
turbo.database.capture(OwnGroup)
"""


def manage(directory: Path, settings: str, *arguments: str) -> str:
    code = f"{settings}\nimport django.core.management as m; m.call_command(*ARGS)"
    done = subprocess.run(
        [sys.executable, "-c", f"ARGS = {list(arguments)!r}\n{code}"],
        cwd=directory,
        env={"PYTHONPATH": f"{directory}:{ROOT}", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.processes
def test_a_migration_makes_the_triggers(postgres: Postgres, tmp_path: Path) -> None:
    """And the next one is empty; a proxy's are in the app of the proxy."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "__init__.py").touch()
    (tmp_path / "notes" / "models.py").write_text(MODELS)
    apps = ["auth", "contenttypes"]
    settings = f"""
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "pgtrigger",
        "turbo", "turbo.database", "notes",
    ],
    DATABASES={{"default": {postgres.create("migrated")!r}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIGRATION_MODULES=dict.fromkeys({[*apps, "turbo", "turbo_database"]!r}),
    TURBO={{"OUTBOX": False}},
)
django.setup()
"""

    manage(tmp_path, settings, "makemigrations", "notes")
    out = manage(tmp_path, settings, "makemigrations", "notes")
    manage(tmp_path, settings, "migrate", "--run-syncdb")

    assert out.strip() == "No changes detected in app 'notes'"
    [path] = (tmp_path / "notes" / "migrations").glob("0001*.py")
    assert path.read_text().count("AddTrigger(") == 8
    code = (
        "from django.contrib.auth.models import Group; from notes.models import Note; "
        "Note.objects.bulk_create([Note(text='a')]); Group.objects.create(name='a'); "
        "from turbo.database.models import CapturedStatement as C; "
        "print(*C.objects.values_list('model', 'operation', 'count'))"
    )
    out = manage(tmp_path, settings, "shell", "--no-imports", "--command", code)
    assert out.strip() == "('notes.Note', 'insert', 1) ('auth.Group', 'insert', 1)"


def test_the_limit_is_in_the_triggers() -> None:
    """A migration of each project has it: another one makes new migrations."""
    assert LIMIT == 10_000
