"""The inspector in production: names and counts of all processes, for staff."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.inspector.test_history import Closed, Ticker
from tests.support.clients import LivePage, Socket
from tests.support.full import for_full_runs
from tests.support.servers import PATIENCE, Project, wait_until
from tests.support.tenants import SETTINGS, tenant
from tests.testapp.models import Room
from turbo import metrics
from turbo.database.models import OutboxEntry
from turbo.delivery.broadcast import flush, get_publisher, shut_down
from turbo.delivery.names import sign
from turbo.inspector import overview, process_report, reporter
from turbo.inspector.history import Incident, InspectorHistory, history
from turbo.inspector.process_report import ProcessReport, StreamCount, own_report
from turbo.replay import get_replay
from turbo.replay.base import Append

pytestmark = pytest.mark.django_db(transaction=True)

PAGE, DATA = "/__turbo__/", "/__turbo__/data/"


@pytest.fixture
def production(settings: Any) -> Iterator[Any]:
    """The settings of a site that shows its staff the inspector."""
    settings.TURBO = {**settings.TURBO, "INSPECTOR": "staff"}
    settings.INTERNAL_IPS = ["127.0.0.1"]
    yield settings
    shut_down()
    history.close()


# --- Who may see it


@pytest.mark.parametrize("address", [PAGE, DATA])
def test_without_the_setting_there_is_nothing(staff: Client, address: str) -> None:
    assert staff.get(address).status_code == 404


@pytest.mark.parametrize("address", [PAGE, DATA])
def test_others_than_staff_find_nothing(
    address: str, client: Client, production: Any
) -> None:
    """Nor does an internal address, which may be that of a proxy."""
    codes = [client.get(address).status_code]
    for name, rights in {
        "grace": {},
        "root": {"is_superuser": True},
        "gone": {"is_staff": True, "is_active": False},
    }.items():
        client.force_login(User.objects.create_user(name, **rights))
        codes.append(client.get(address).status_code)

    assert codes == [404] * 4


@pytest.mark.parametrize("address", [PAGE, DATA])
def test_rights_are_asked_for_each_time(
    address: str, staff: Client, production: Any
) -> None:
    before = staff.get(address)
    User.objects.update(is_staff=False)

    assert (before.status_code, staff.get(address).status_code) == (200, 404)
    assert "no-store" in before["Cache-Control"]


@pytest.mark.parametrize("given", ["Staff", "all", True, 1, ["staff"]])
def test_another_value_shows_it_to_nobody(
    given: object, staff: Client, settings: Any
) -> None:
    settings.TURBO = {"INSPECTOR": given}

    assert staff.get(PAGE).status_code == 404


# --- What it shows


def test_names_and_counts_but_no_contents(staff: Client, production: Any) -> None:
    staff.get(PAGE)
    Ticker().append(text="a secret", id="list")
    metrics.count("dropped")

    page, data = staff.get(PAGE), staff.get(DATA)

    assert page.status_code == data.status_code == 200
    assert "a secret" not in page.text + data.text
    assert "<turbo-channels-stream-source" not in page.text
    assert data.json()["totals"][0]["label"] == "Connections"


def test_in_development_staff_see_both(
    staff: Client, production: Any, opened: InspectorHistory
) -> None:
    production.DEBUG = True
    Ticker().append(text="a draft", id="list")

    page = staff.get(PAGE).text

    assert "All processes together" in page
    assert "a draft" in page


async def test_streams_have_names_without_having_been_recorded(
    production: Any, staff: Client
) -> None:
    room = await Room.objects.acreate(name="Attic")

    async with Socket() as socket:
        await socket.subscribe(room.stream.signed_stream_name)
        report = own_report(history)

    assert report.streams == (StreamCount(room.stream.stream_name, 1),)
    assert report.numbers["connections"] == report.numbers["subscribers"] - 1 == 1


async def test_refusals_are_shown_while_somebody_looks(
    production: Any, opened: InspectorHistory
) -> None:
    opened.open(contents=False)

    async with Socket() as socket:
        await socket.subscribe(Closed().signed_stream_name)
        report = own_report(opened)

    assert opened.broadcasts() == []
    assert [(i.kind, i.stream, i.why) for i in report.incidents] == [
        ("refused", Closed.label, "forbidden")
    ]


def test_names_are_text(staff: Client, production: Any) -> None:
    """Whoever can choose the name of a stream cannot run a script in the page."""
    evil = "<script>alert(1)</script>"
    staff.get(PAGE)
    _append(_report(host=evil, program=evil, streams=[[evil, 1]], incidents=[evil] * 3))

    page = staff.get(PAGE).text

    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 7


def test_nothing_is_inline(staff: Client, production: Any) -> None:
    page = staff.get(PAGE).text

    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == page.count('<script type="module" src=') == 1


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "x",
        "[]",
        "7",
        "{}",
        '{"key": 1}',
        json.dumps({"numbers": []}),
        json.dumps({"numbers": {"queue": "many"}}),
        "[" * 5_000,
    ],
)
def test_what_is_no_report_is_left_out(text: str | None) -> None:
    assert ProcessReport.read(text) is None


def test_a_report_is_what_was_written(opened: InspectorHistory) -> None:
    metrics.count("dropped", 2)

    report = own_report(opened)

    assert ProcessReport.read(report.write()) == report


async def test_a_report_is_bounded(opened: InspectorHistory) -> None:
    names = [f"{Ticker.label}:{'x' * 400}{n}" for n in range(60)]
    for _ in names:
        opened._note_count("gaps", 1, sid="x" * 5_000)
    async with Socket() as socket:
        await socket.subscribe(*map(sign, names))
        report = own_report(opened)

    assert len(report.incidents) == process_report.INCIDENTS
    assert len(report.streams) <= process_report.STREAMS
    assert len(report.write()) < 20_000


# --- Processes


def _report(**changes: Any) -> ProcessReport:
    values: dict[str, Any] = {
        "key": "other",
        "host": "web-2",
        "pid": 7,
        "program": "daphne",
        "age": 90,
        "at": process_report.log_time(),
        "numbers": {"queue": 3, "gaps": 2},
        "streams": [["chat:RoomStream:1", 5]],
        "incidents": [],
    } | changes
    values["streams"] = tuple(StreamCount(*stream) for stream in values["streams"])
    if values["incidents"]:
        values["incidents"] = (Incident(*values["incidents"], time="10:00:00"),)
    return ProcessReport(**values)


def _append(*reports: ProcessReport | str) -> None:
    """Let other processes report."""
    texts = [r if isinstance(r, str) else r.write() for r in reports]
    _on_loop(get_replay().append([Append(reporter.SID, text) for text in texts]))


def _on_loop(work: Any) -> Any:
    """Do something on the publisher's loop, where reports are written."""
    loop = reporter.get_reporter()._loop
    return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)


def test_processes_are_added_up(staff: Client, production: Any) -> None:
    _append(_report(numbers={"queue": 1}), "x", _report(), _report(key="third"))

    found = staff.get(DATA).json()

    assert [(p["host"], p["pid"]) for p in found["processes"] if not p["is_this"]] == [
        ("web-2", 7),
        ("web-2", 7),
    ]
    totals = {total["name"]: total["value"] for total in found["totals"]}
    assert totals["queue"] == 6
    assert {"name": "chat:RoomStream:1", "subscribers": 10, "processes": 2} in found[
        "top"
    ]


@pytest.mark.parametrize(
    ("here", "shown"), [("", ["acme", "globex"]), ("acme", ["acme"])]
)
def test_a_tenant_sees_only_its_own_streams(
    staff: Client, production: Any, here: str, shown: list[str]
) -> None:
    """Its staff may be nobody in another one; outside of all, everything is shown."""
    production.TURBO = {**production.TURBO, **SETTINGS}
    for name in ("acme", "globex"):
        stream = f"{name}/chat:RoomStream:1"
        incidents = ["gaps", stream, "1"]
        _append(_report(key=name, streams=[[stream, 5]], incidents=incidents))

    with tenant(here):
        found = staff.get(DATA).json()

    assert [row["name"].partition("/")[0] for row in found["top"]] == shown
    assert sorted(i["stream"].partition("/")[0] for i in found["incidents"]) == shown


def test_a_process_that_has_ended_goes(staff: Client, production: Any) -> None:
    now = process_report.log_time()
    silent, gone = overview.SILENT + 1, reporter.AGE + 1
    _append(
        _report(key="silent", pid=1, at=now - silent * 1_000_000),
        _report(key="gone", pid=2, at=now - gone * 1_000_000),
    )

    found = staff.get(DATA).json()["processes"]

    assert [(p["pid"], p["silent"] >= silent) for p in found if not p["is_this"]] == [
        (1, True)
    ]


def test_more_reports_than_the_log_keeps(staff: Client, production: Any) -> None:
    """The last ones are shown."""
    production.TURBO = {**production.TURBO, "REPLAY_LENGTH": 5}
    _append(*(_report(key=str(n), pid=n) for n in range(1, 20)))

    found = staff.get(DATA).json()["processes"]

    others = [p["pid"] for p in found if not p["is_this"]]
    assert set(others) <= set(range(15, 20))
    assert len(others) >= 4  # this process may have reported, too


def test_the_log_is_away(staff: Client, production: Any, settings: Any) -> None:
    """The page says so, and shows the process that serves it."""
    settings.TURBO = {
        **settings.TURBO,
        "REPLAY_BACKEND": "turbo.replay.redis.RedisReplay",
        "REPLAY_HOSTS": ["redis://127.0.0.1:1"],
    }

    found = staff.get(DATA).json()

    assert "does not answer" in found["problem"]
    assert [process["is_this"] for process in found["processes"]] == [True]


def test_a_log_of_one_process_is_said(staff: Client, production: Any) -> None:
    assert "knows only the process" in staff.get(DATA).json()["problem"]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_the_outbox_is_counted(staff: Client, production: Any) -> None:
    production.TURBO = {**production.TURBO, "OUTBOX": True}
    row = {"seen": timezone.now() + timedelta(hours=1), "content": "{}"}
    for failed in (False, True, True):
        OutboxEntry.objects.create(failed=failed, **row)

    found = staff.get(DATA).json()

    assert {"alias": "default", "waiting": "1", "set_aside": "2"} in found["outbox"]
    assert "Outbox" in found["columns"]


def test_a_database_without_an_outbox_is_left_out(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(TURBO={"OUTBOX": True})
    empty = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    project.settings["DATABASES"]["empty"] = empty

    found = project.shell(
        "from turbo.inspector.overview import overview; "
        "print(*(row['alias'] for row in overview()['outbox']))"
    )

    assert found == "default other"


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["/srv/bin/gunicorn", "--token=secret"], "gunicorn"),
        (["/lib/daphne/__main__.py", "-p", "8001"], "daphne"),
        (["./manage.py", "turbo_relay", "--secret"], "manage.py turbo_relay"),
        (["manage.py", "--secret"], "manage.py"),
        (["x" * 5_000], "x" * process_report.LONGEST),
        ([], ""),
    ],
)
def test_a_program_is_named_without_its_arguments(
    argv: list[str], program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", argv)

    assert own_report(history).program == program


def test_nobody_waits_for_reports(staff: Client, production: Any) -> None:
    staff.get(PAGE)

    assert flush(PATIENCE)
    assert get_publisher().progress().is_done()


async def _logged_in(http: httpx.AsyncClient, url: str) -> None:
    await http.get(f"{url}/login/ann/")


@pytest.mark.parametrize(
    "layer", ["redis", pytest.param("sqlite", marks=for_full_runs)]
)
async def test_two_servers_report_to_each_other(
    layer: str, make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    project = make_project(layer, TURBO={"INSPECTOR": "staff"})
    signed = project.shell(
        "from django.contrib.auth.models import User; "
        "User.objects.filter(username='ann').update(is_staff=True); "
        "from tests.testapp.models import Room; "
        "print(Room(pk=1).stream.signed_stream_name)"
    )
    one, other = daphne(project), daphne(project)

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE))
        stranger = await stack.enter_async_context(httpx.AsyncClient(timeout=PATIENCE))
        await _logged_in(http, one.url)
        for server in (one, other, other):
            await stack.enter_async_context(LivePage(server.ws_url, signed))
        found: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE):
            while len(found.get("processes", ())) < 2 or len(found["top"]) < 1:
                found = (await http.get(f"{one.url}{DATA}")).json()
                await asyncio.sleep(0.05)
        answers = [await stranger.get(f"{s.url}{DATA}") for s in (one, other)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert found["problem"] == ""
    assert {p["pid"] for p in found["processes"]} == {one.pid, other.pid}
    assert {p["program"] for p in found["processes"]} == {"daphne"}
    totals = {total["name"]: total["value"] for total in found["totals"]}
    assert totals["connections"] == 3
    assert found["top"] == [
        {"name": "testapp:RoomStream:1", "subscribers": 3, "processes": 2}
    ]


# --- What it costs


def _round() -> bool:
    """Let this process read whether somebody looks, and report if so."""
    return _on_loop(reporter.get_reporter()._report_if_watched())


def test_nothing_is_recorded_or_stored_unless_somebody_looks(
    staff: Client, production: Any, valkey: Any
) -> None:
    production.TURBO = {
        **production.TURBO,
        "REPLAY_BACKEND": "turbo.replay.redis.RedisReplay",
        "REPLAY_HOSTS": [valkey.url],
    }
    receivers = metrics.counted.receivers[:]

    def stored() -> list[str]:
        with valkey.client() as client:
            return [key for key in client.keys("*") if reporter.SID in key]

    assert _round() is False
    assert (history.is_open, metrics.counted.receivers) == (False, receivers)
    assert stored() == []

    staff.get(PAGE)
    assert _round() is True
    assert history.is_open
    assert stored() != []
    wait_until(
        lambda: reporter.get_reporter()._is_watched, what="it has reported by itself"
    )

    valkey.flush()  # as if the note had expired
    assert _round() is False
    assert (history.is_open, metrics.counted.receivers) == (False, receivers)
    assert stored() == []


def test_without_the_setting_no_process_asks(make_project: Any) -> None:
    project = make_project()
    code = (
        "import turbo; from tests.testapp.streams import Announcements; "
        "Announcements().remove(id='x'); turbo.flush(60); "
        "from turbo.delivery.broadcast import get_publisher; "
        "print([make.__name__ for make in get_publisher().queues._made])"
    )

    before = project.shell(code)
    project.settings["TURBO"] = {"INSPECTOR": "staff"}

    assert "Reporter" not in before
    assert "Reporter" in project.shell(code)
