"""The same streams over server-sent events, resumed by the browser's own id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.test import AsyncClient, Client, override_settings

from tests.support.clients import signed_now
from tests.support.servers import PATIENCE, channel_layer
from tests.testapp.models import Room
from tests.testapp.streams import Announcements
from turbo.connections.sse import _as_event, _Events
from turbo.delivery.broadcast import shut_down
from turbo.delivery.frame import Frame
from turbo.delivery.names import sign
from turbo.delivery.protocol import message_frame

REFRESH = '<turbo-stream action="refresh"></turbo-stream>'


class Events:
    """What an ``EventSource`` would make of a response."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.last_id = ""

    async def data(self) -> str:
        """Return the data of the next event."""
        lines: list[str] = []
        async for line in self._lines:
            if line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("data: "):
                lines.append(line[6:])
            elif not line and lines:
                return "\n".join(lines)
        raise EOFError


@asynccontextmanager
async def events(
    url: str, signed: str, *, since: str = "", last_id: str = ""
) -> AsyncIterator[Events]:
    path = f"/turbo/sse/?stream={quote(signed)}&since={quote(since)}"
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with (
        httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http,
        http.stream("GET", path, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        yield Events(response)


@pytest.mark.parametrize("server_kind", ["daphne", "uvicorn"])
async def test_events_arrive_and_resume_where_they_broke_off(
    request: pytest.FixtureRequest,
    valkey: Any,
    make_project: Callable[..., Any],
    server_kind: str,
) -> None:
    server = request.getfixturevalue(server_kind)(make_project("redis"))
    stream = Announcements()
    layers = {"default": channel_layer("redis", valkey.url)}
    with override_settings(CHANNEL_LAYERS=layers):
        signed = await signed_now(stream)
        async with events(server.url, signed) as first:
            stream.update(html="<b>\n1</b>", id="x")
            heard = [await first.data()]
        for n in (2, 3):
            stream.update(text=str(n), id="x")
        async with events(server.url, signed, last_id=first.last_id) as second:
            heard += [await second.data(), await second.data()]
            stream.update(text="4", id="x")
            heard.append(await second.data())
        async with events(server.url, signed, since="?") as third:
            lost = await third.data()
        await asyncio.to_thread(shut_down, 5)

    assert heard[0] == (
        '<turbo-stream action="update" target="x">'
        "<template><b>\n1</b></template></turbo-stream>"
    )
    assert ["2" in heard[1], "3" in heard[2], "4" in heard[3]] == [True] * 3
    assert lost == REFRESH


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        ("", "forged"),
        ("nonsense", "forged"),
        (sign("testapp:RoomStream:999"), "gone"),
    ],
    ids=["none", "nonsense", "gone"],
)
async def test_a_refused_name_is_a_403_with_the_reason(
    signed: str, reason: str
) -> None:
    response = await AsyncClient().get("/turbo/sse/", {"stream": signed})

    assert (response.status_code, response.content.decode()) == (403, reason)


@pytest.mark.django_db(transaction=True)
async def test_who_may_not_see_a_room_is_refused() -> None:
    room = await Room.objects.acreate(name="Cellar", public=False)

    response = await AsyncClient().get(
        "/turbo/sse/", {"stream": room.stream.signed_stream_name}
    )

    assert (response.status_code, response.content) == (403, b"forbidden")


@pytest.mark.parametrize(("kind", "status"), [("denied", 403), ("retry", 503)])
def test_a_ping_before_the_answer_hides_no_refusal(kind: str, status: int) -> None:
    events = _Events()
    events.put(Frame('{"type":"ping"}'))
    events.put(Frame(json.dumps({"type": kind, "reason": "why"})))

    answer = events.refusal()

    assert answer is not None
    assert (answer.status_code, answer.content) == (status, b"why")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
async def test_an_outage_is_a_503() -> None:
    layers = {"default": channel_layer("redis", "redis://127.0.0.1:1")}
    with override_settings(CHANNEL_LAYERS=layers):
        response = await AsyncClient().get(
            "/turbo/sse/", {"stream": Announcements().signed_stream_name}
        )

    assert response.status_code == 503


def test_a_wsgi_server_is_told_that_it_will_not_do() -> None:
    assert Client().get("/turbo/sse/").status_code == 501


def test_only_get_is_answered() -> None:
    assert Client().post("/turbo/sse/").status_code == 405


FRAMES = [
    (message_frame("s", position="e:1", data="<b>"), "id: e:1\ndata: <b>\n\n"),
    (message_frame("s", position="", data="<b>"), "data: <b>\n\n"),
    (
        message_frame("s", position="e:2", data=None),
        f"id: e:2\ndata: {REFRESH}\n\n",
    ),
    # It is not stored, and an empty id would let the browser forget its place.
    (message_frame("s", position="", data="<b>"), "data: <b>\n\n"),
    ('{"type":"ping"}', ": ping\n\n"),
    ('{"type":"denied","reason":"revoked"}', None),
    (
        '{"type":"subscribed","recovered":true,"position":"e:1"}',
        ": subscribed\n\n",
    ),
]


@pytest.mark.parametrize(("frame", "text"), FRAMES)
def test_what_a_frame_becomes(frame: str, text: str | None) -> None:
    assert _as_event(frame) == text


async def test_a_revoked_stream_ends_the_response() -> None:
    queue = _Events()
    queue.put(Frame('{"type":"ping"}'))
    queue.put(Frame('{"type":"denied","reason":"revoked"}'))
    queue.put(Frame('{"type":"ping"}'))

    assert [text async for text in queue] == [": ping\n\n"]


async def test_a_browser_that_does_not_read_is_ended_to_come_again() -> None:
    with override_settings(TURBO={"QUEUE_BYTES": 20}):
        queue = _Events()
        for _ in range(3):
            queue.put(Frame('{"type":"ping"}'))

    assert [text async for text in queue] == [": ping\n\n"]


async def test_an_event_larger_than_the_queue_is_taken_if_it_is_the_first() -> None:
    """Regression: the response ended before it, again and again."""
    large = Frame('{"type":"gap","position":"e:1","filler":"larger than the queue"}')
    with override_settings(TURBO={"QUEUE_BYTES": 20}):
        queue = _Events()
        queue.put(large)
        queue.put(Frame('{"type":"ping"}'))
        events = aiter(queue)

        assert "id: e:1" in await anext(events)
        assert await anext(events) == ": ping\n\n"
        queue.put(large)
        assert "id: e:1" in await anext(events)
        queue.put(Frame('{"type":"ping"}'))
        queue.put(large)
        queue.put(Frame('{"type":"ping"}'))
        assert [text async for text in events] == [": ping\n\n"]
