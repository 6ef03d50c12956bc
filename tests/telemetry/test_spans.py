"""One trace from a save to the sockets, also through several processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

import turbo
from tests.support.clients import LivePage, Socket
from tests.support.servers import PATIENCE, Project
from tests.telemetry.site import described
from tests.testapp.models import Message, Room
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import flush
from turbo.delivery.envelope import Envelope, pack, unpack
from turbo.runtime import tracing
from turbo.telemetry.latency import latency
from turbo.telemetry.spans import SpanTracer

APPS = [*settings.INSTALLED_APPS, "turbo.telemetry"]
SITE = {"INSTALLED_APPS": APPS, "ROOT_URLCONF": "tests.telemetry.site"}


def names(spans: list[dict[str, Any]]) -> list[str]:
    return [span["name"] for span in spans]


def of(exporter: Any) -> list[dict[str, Any]]:
    return [described(span) for span in exporter.get_finished_spans()]


def one(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (span,) = (span for span in spans if span["name"] == name)
    return span


@pytest.mark.parametrize("layer", ["redis", "sqlite"])
async def test_a_save_and_a_socket_of_another_process_are_one_trace(
    layer: str, make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    project = make_project(layer, **SITE)
    writer, server = (
        daphne(project, application="tests.telemetry.site:application")
        for _ in range(2)
    )
    signed = project.shell(
        "from tests.testapp.models import Room; "
        "print(Room(pk=1).stream.signed_stream_name)"
    )

    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        async with LivePage(server.ws_url, signed) as page:
            await http.get(f"{writer.url}/saved/", params={"text": "Hi"})
            await page.until(lambda: len(page.data) == 1)
            there = (await http.get(f"{server.url}/spans/")).json()
        here = (await http.get(f"{writer.url}/spans/")).json()["spans"]

    assert sorted(names(here)) == [
        "saved",
        "turbo.append",
        "turbo.broadcast",
        "turbo.change",
        "turbo.render",
    ]
    assert names(there["spans"]) == ["turbo.send", "turbo.receive"]
    assert {span["trace"] for span in [*here, *there["spans"]]} == {here[0]["trace"]}
    saved, change = one(here, "saved"), one(here, "turbo.change")
    broadcast = one(here, "turbo.broadcast")
    receive, send = (
        one(there["spans"], "turbo.receive"),
        one(there["spans"], "turbo.send"),
    )
    assert change["parent"] == saved["id"]
    assert one(here, "turbo.render")["parent"] == broadcast["parent"] == change["id"]
    assert one(here, "turbo.append")["parent"] == broadcast["id"] == receive["parent"]
    assert send["parent"] == receive["id"]
    assert send["attributes"] == {"turbo.subscribers": 1}
    assert there["measured"] == 1


async def test_a_process_without_telemetry_shows_what_one_with_it_sends(
    make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    """As during an upgrade, and the other way round."""
    project = make_project("redis")
    plain = daphne(project)
    project.settings |= SITE
    traced = daphne(project, application="tests.telemetry.site:application")
    signed = project.shell(
        "from tests.testapp.models import Room; "
        "print(Room(pk=1).stream.signed_stream_name)"
    )

    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        async with (
            LivePage(plain.ws_url, signed) as old,
            LivePage(traced.ws_url, signed) as new,
        ):
            for server in (plain, traced):
                await http.get(f"{server.url}/rooms/1/say/", params={"text": "Hi"})
            for page in (old, new):
                await page.until(lambda page=page: len(page.data) == 2)
            there = (await http.get(f"{traced.url}/spans/")).json()
        counters = (await http.get(f"{plain.url}/counters/")).json()

    assert (old.gaps, new.gaps, counters["unreadable"]) == (0, 0, 0)
    assert there["measured"] == 1  # of its own message; the other carries nothing


@pytest.mark.django_db(transaction=True)
def test_a_verb_that_waits_belongs_to_the_span_of_its_call(exporter: Any) -> None:
    tracer = trace.get_tracer("tests")

    with transaction.atomic():
        with tracer.start_as_current_span("call") as call:
            Announcements().remove(id="list")
        assert names(of(exporter)) == ["call"]
    assert flush(PATIENCE)

    broadcast = one(of(exporter), "turbo.broadcast")
    assert broadcast["parent"] == f"{call.get_span_context().span_id:016x}"
    assert broadcast["attributes"] == {
        "messaging.system": "turbo",
        "messaging.operation.type": "send",
        "messaging.destination.name": Announcements.label,
    }


@pytest.mark.django_db(transaction=True)
def test_a_verb_that_is_rolled_back_says_so(exporter: Any) -> None:
    with transaction.atomic():
        Announcements().remove(id="list")
        transaction.set_rollback(True)

    (broadcast,) = of(exporter)
    assert broadcast["attributes"]["turbo.rolled_back"] is True


@pytest.mark.django_db(transaction=True)
async def test_time_is_measured_from_the_commit(
    exporter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes before the transaction, or after the socket, does not count."""
    # Each look at the clock is a second after the one before.
    seconds = count(1)
    clock = SimpleNamespace(time_ns=lambda: next(seconds) * 1_000_000_000)
    monkeypatch.setattr("turbo.telemetry.spans.time", clock)
    latency.clear()
    room = await Room.objects.acreate(name="Attic")

    async with Socket() as socket:
        await socket.subscribe(room.stream.signed_stream_name)
        before = next(seconds)
        await Message.objects.acreate(room=room, text="Hi")
        await socket.messages()
        after = next(seconds)

    measured = latency.read()
    assert measured.total == 1
    assert 0 < measured.seconds < after - before


@pytest.mark.django_db(transaction=True)
def test_a_hook_that_fails_is_seen(exporter: Any) -> None:
    tracer = SpanTracer()

    with pytest.raises(ZeroDivisionError), tracer.span("turbo.change", {"a": "b"}):
        _ = 1 / 0

    span: ReadableSpan = exporter.get_finished_spans()[0]
    assert span.status.is_ok is False
    assert [event.name for event in span.events] == ["exception"]


class Failing:
    """A span that fails at its end, as a processor of an application may."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: Any) -> None:
        raise RuntimeError("nowhere to send it")


@pytest.mark.parametrize("error", [None, ValueError("of the template")])
def test_what_is_followed_goes_on_if_its_span_fails(
    error: Exception | None, exporter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tracer = SpanTracer()
    tracer._tracer = SimpleNamespace(  # type: ignore[assignment]
        start_as_current_span=lambda *args, **kwargs: Failing()
    )

    expected = pytest.raises(ValueError, match="of the") if error else nullcontext()
    with expected, tracer.span("turbo.render", {}):
        if error is not None:
            raise error

    assert "A message could not be traced." in caplog.text


class Broken:
    """A tracer of OpenTelemetry that fails, as a processor of an application may."""

    def start_span(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no more spans")

    start_as_current_span = start_span


@pytest.mark.django_db(transaction=True)
async def test_messages_go_on_without_spans(
    exporter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tracer = SpanTracer()
    tracer._tracer = Broken()  # type: ignore[assignment]
    tracing.install(tracer)
    room = await Room.objects.acreate(name="Attic")

    async with Socket() as socket:
        await socket.subscribe(room.stream.signed_stream_name)
        await Message.objects.acreate(room=room, text="Hi")
        (message,) = await socket.messages()

    assert "Hi" in message
    assert "A message could not be traced." in caplog.text
    assert exporter.get_finished_spans() == ()


async def test_without_a_log_each_message_has_its_own_trace(exporter: Any) -> None:
    """All its messages have the number 0."""
    backend = {"REPLAY_BACKEND": "turbo.replay.dummy.DummyReplay"}
    with override_settings(TURBO=backend):
        async with Socket() as socket:
            await socket.subscribe(Announcements().signed_stream_name)
            Announcements().append(text="a", id="list")
            Announcements().append(text="b", id="list")
            await socket.messages(2)
        turbo.flush(PATIENCE)

    spans = of(exporter)
    sent = [span["trace"] for span in spans if span["name"] == "turbo.broadcast"]
    heard = [span["trace"] for span in spans if span["name"] == "turbo.receive"]
    assert len({*sent}) == 2
    assert sorted(sent) == sorted(heard)


@pytest.mark.parametrize(
    "carried",
    [None, 7, "x", [7], [["sid", 1]], [["sid", "1", "x", 2]], [[None, 1, "x", 2]]],
)
def test_what_is_no_trace_is_ignored(carried: object, exporter: Any) -> None:
    message = {**pack([Envelope("sid", "k", 1, ("x",))]), "t": carried}

    assert SpanTracer().received(message) is None
    assert unpack(message) == ([Envelope("sid", "k", 1, ("x",))], False)


def test_a_header_that_is_none_begins_a_trace(exporter: Any) -> None:
    message = pack([Envelope("sid", "k", 1, ("x",))])
    fanout = SpanTracer().received({**message, "t": [["sid", 1, "x", 0]]})
    assert fanout is not None

    fanout.sent("sid", 1, 1, subscribers=0, is_held=False)
    fanout.sent("sid", 1, 1, subscribers=2, is_held=True)
    assert of(exporter) == []  # nothing was sent yet

    fanout.sent("sid", 1, 1, subscribers=2, is_held=False)
    assert one(of(exporter), "turbo.receive")["parent"] is None


def test_a_clock_that_is_behind_counts_as_no_time(exporter: Any) -> None:
    latency.clear()
    message = pack([Envelope("sid", "k", 1, ("x",))])
    later = time.time_ns() // 1_000 + 60_000_000
    fanout = SpanTracer().received({**message, "t": [["sid", 1, "", later]]})
    assert fanout is not None

    fanout.sent("sid", 1, 1, subscribers=2, is_held=False)

    assert (latency.read().total, latency.read().seconds) == (1, 0.0)


def test_what_processes_tell_each_other_is_not_traced(exporter: Any) -> None:
    turbo.revoke(stream=Announcements())
    assert flush(PATIENCE)

    assert of(exporter) == []
