"""What the checks and the doctor say about the outbox."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models.functions import Now
from django.test import modify_settings

from tests.database.conftest import Outbox
from tests.testapp.models import Room
from turbo.checks.declarations import check_declarations
from turbo.checks.finding import Finding
from turbo.database import durable
from turbo.database.models import OutboxEntry
from turbo.database.outbox.checks import check_outbox, examine_outbox

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def options(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    for alias in ("default", "other"):
        settings = connections[alias].settings_dict
        monkeypatch.setitem(settings, "OPTIONS", values)


def test_sqlite_needs_options(
    everything: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_outbox() == []

    options(monkeypatch, init_command="PRAGMA journal_mode = WAL;")
    first, second = check_outbox()
    assert first.id == "turbo.W040"
    assert "'default'" in first.msg
    assert "needs for it: transaction_mode IMMEDIATE." in first.msg
    assert "'other'" in second.msg
    options(monkeypatch)
    assert "journal_mode=WAL and transaction_mode IMMEDIATE" in check_outbox()[0].msg


def test_without_an_outbox_nothing_is_needed(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    options(monkeypatch)

    assert check_outbox() == []
    assert list(examine_outbox()) == []


def test_an_outbox_without_the_app(everything: Outbox) -> None:
    durable(Room)

    with modify_settings(INSTALLED_APPS={"remove": "turbo.database"}):
        found = [check for check in check_declarations() if check.id == "turbo.W019"]

    assert [check.msg.partition(", but")[0] for check in found] == [
        "testapp.Room is durable, TURBO['OUTBOX'] is set"
    ]


def test_the_doctor_says_what_waits_and_what_was_set_aside(everything: Outbox) -> None:
    content = '{"items": [{"model": "testapp.room", "pk": 7, "action": "delete"}]}'
    bad = OutboxEntry(seen=Now(), owner="", content=content, failed=True)
    bad.save()
    OutboxEntry.objects.create(seen=Now(), owner="", content="{}")
    everything.age()

    waiting, failed, other = examine_outbox()

    assert waiting.decision == "warning"
    assert waiting.text.startswith("1 transactions of ended processes wait")
    assert failed.decision == "failure"
    assert failed.text.startswith("1 transactions cannot be told")
    assert failed.text.endswith(f": {bad.pk} (delete of testapp.room 7)")
    assert other == Finding.ok("The outbox of 'other' has nothing of ended processes.")


def test_the_doctor_misses_the_table(everything: Outbox, no_table: None) -> None:
    missing, _ = examine_outbox()

    assert missing.hint == "Run manage.py migrate turbo_database --database default."


def test_the_doctor_fails_for_what_was_set_aside(everything: Outbox) -> None:
    OutboxEntry.objects.create(seen=Now(), owner="", content="{}", failed=True)
    out = StringIO()

    with pytest.raises(CommandError, match="checks failed"):
        call_command("turbo_doctor", stdout=out)

    assert "FAIL  1 transactions cannot be told" in out.getvalue()
