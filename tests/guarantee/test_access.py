"""Who may see what, on real servers, against clients that want more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
from django.contrib.auth.models import User

import turbo
from tests.guarantee.doors import Door, log_in
from tests.support.clients import signed_now
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, Gated
from turbo.replay import get_replay

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]

#: The users and the room that every project begins with.
ANN, EVE = User(pk=1, username="ann"), User(pk=3, username="eve")
LOBBY = Room(pk=1)


@pytest.fixture(params=["redis"])
def layer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


class Page:
    """A conversation over one socket, frame by frame."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def subscribe(self, *names: str, since: str = "") -> None:
        streams = [{"name": name, "since": since} for name in names]
        await self.send({"type": "subscribe", "streams": streams})

    async def send(self, frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            frame: dict[str, Any] = json.loads(await self._socket.recv())
        return frame if frame["type"] != "ping" else await self.next()

    async def told(self, count: int = 1) -> list[tuple[str, str]]:
        """Return type and reason of the next frames."""
        frames = [await self.next() for _ in range(count)]
        return [(frame["type"], frame.get("reason", "")) for frame in frames]


@asynccontextmanager
async def page_of(server: Any, headers: dict[str, str]) -> AsyncIterator[Page]:
    origin: Any = server.url
    async with websockets.connect(
        f"{server.ws_url}/ws/",
        origin=origin,
        additional_headers=headers,
        ping_interval=None,
        open_timeout=60,
    ) as socket:
        yield Page(socket)


# --- One user's slow tests are nobody else's


async def test_nobody_waits_for_the_slow_tests_of_another(
    serve: Callable[..., Any], door: Door
) -> None:
    """Ten connections ask a thousand times; the stream is asked for thrice at most."""
    server = serve(env=door.env)
    names = [Gated(1).sign(EVE, since=f"@{number}.{'0' * 10}") for number in range(100)]
    eve, ann = await log_in(server, "eve"), await log_in(server, "ann")
    async with AsyncExitStack() as stack:
        hostile = [
            await stack.enter_async_context(page_of(server, eve)) for _ in range(10)
        ]
        for page in hostile:
            await page.subscribe(*names)
        await door.until_asked("eve 1")

        other = await stack.enter_async_context(page_of(server, ann))
        await other.subscribe(await signed_now(Gated(1), ANN))
        assert await other.told() == [("subscribed", "")]

        door.open()
        for page in hostile:
            assert await page.told(100) == [("subscribed", "")] * 100
    assert door.asked().count("eve 1") <= 3


async def test_a_user_has_one_thread_at_a_time(
    serve: Callable[..., Any], door: Door
) -> None:
    """So many different streams do not keep others waiting either."""
    server = serve(env=door.env)
    eve, ann = await log_in(server, "eve"), await log_in(server, "ann")
    async with AsyncExitStack() as stack:
        for number in range(6):
            page = await stack.enter_async_context(page_of(server, eve))
            names = [Gated(number * 10 + n).sign(EVE) for n in range(10)]
            await page.subscribe(*names)
        await door.until_asked("eve 0")

        other = await stack.enter_async_context(page_of(server, ann))
        await other.subscribe(await signed_now(Gated(1), ANN))
        assert await other.told() == [("subscribed", "")]
        door.open()


async def test_more_than_the_budget_is_answered_with_limit(
    serve: Callable[..., Any],
) -> None:
    server = serve(TURBO={"USER_LIMITS": {"NAMES": 120, "TESTS": 5}})
    names = [Announcements().sign(EVE, since=f"@{n}.0") for n in range(100)]
    rooms = [LOBBY.stream.sign(EVE, since=f"@{n}.0") for n in range(10)]
    eve = await log_in(server, "eve")
    async with page_of(server, eve) as first, page_of(server, eve) as second:
        await first.subscribe(*names)
        assert await first.told(100) == [("subscribed", "")] * 100
        await second.subscribe(*names[:30])
        assert await second.told(30) == [("retry", "limit")] * 30
        await second.subscribe(*rooms)
        assert await second.told(10) == [("subscribed", "")] * 10

    assert "asks for more names than is allowed." in server.log()


# --- What was missed


async def test_names_of_one_stream_share_what_was_missed(
    serve: Callable[..., Any],
) -> None:
    """A hundred names, each from another position, and each message comes once."""
    server = serve()
    stream = Announcements()
    names = [await signed_now(stream)]
    names += [stream.sign(since=get_replay().moment()) for _ in range(99)]
    names = [
        stream.sign(User(pk=3), since=get_replay().moment()) if n % 2 else name
        for n, name in enumerate(names)
    ]
    names = list(dict.fromkeys(names))
    eve = await log_in(server, "eve")
    async with page_of(server, eve) as page:
        await page.subscribe(names[0])
        start = await page.next()
        for number in range(50):
            stream.append(text=f"{number:03}", id="x")
        assert await page.told(50) == [("message", "")] * 50
        epoch = start["position"].partition(":")[0]
        streams = [
            {"name": name, "since": f"{epoch}:{number % 50}"}
            for number, name in enumerate(names)
        ]

        await page.send({"type": "subscribe", "streams": streams})
        told = await page.told(len(names) + 50)
        await page.send({"type": "ping"})

        assert told == [("subscribed", "")] * len(names) + [("message", "")] * 50
        assert await page.told() == [("pong", "")]


async def test_what_is_missed_has_a_budget(serve: Callable[..., Any]) -> None:
    server = serve(TURBO={"CONNECTION_LIMITS": {"REPLAY_BYTES": 1_000}})
    stream = Announcements()
    signed = await signed_now(stream)
    async with page_of(server, {}) as page:
        await page.subscribe(signed)
        start = await page.next()
        for _ in range(3):
            stream.append(html="x" * 700, id="x")
        assert await page.told(3) == [("message", "")] * 3

        await page.subscribe(signed, since=start["position"])
        assert await page.told(4) == [("subscribed", "")] + [("message", "")] * 3
        await page.subscribe(signed, since=start["position"])
        assert await page.told() == [("retry", "limit")]


async def test_history_begins_with_the_request(serve: Callable[..., Any]) -> None:
    """Whatever a client says about where it stands."""
    server = serve()
    stream = Announcements()
    async with page_of(server, {}) as page:
        await page.subscribe(await signed_now(stream))
        start = await page.next()
        stream.append(text="before", id="x")
        assert await page.told() == [("message", "")]
        late = await _signed_after(stream)
        stream.append(text="after", id="x")
        assert await page.told() == [("message", "")]

        for since in (start["position"], "@1.0000000000", f"{start['position']}@1.0"):
            await page.subscribe(late, since=since)
            answer = await page.next()
            heard = [await page.next()] if answer["recovered"] else []
            assert all("after" in frame["data"] for frame in heard)
            await page.send({"type": "ping"})
            assert await page.told() == [("pong", "")]


async def _signed_after(stream: Any) -> str:
    """Return a name that was signed after everything that was sent so far."""
    while True:
        signed = await signed_now(stream)
        since = get_replay().moment()
        [history] = await get_replay().read([(stream.stream_id, since)])
        if history.complete and not history.entries:
            return signed if since in signed else stream.sign(since=since)
        await asyncio.sleep(0.01)


# --- The end of access


async def test_a_revocation_holds_against_names_that_are_bound_to_nobody(
    serve: Callable[..., Any],
) -> None:
    server = serve()
    stream = Announcements()
    unbound = await signed_now(stream)
    eve, ann = await log_in(server, "eve"), await log_in(server, "ann")
    async with page_of(server, eve) as hers, page_of(server, ann) as other:
        for page in (hers, other):
            await page.subscribe(unbound)
            assert await page.told() == [("subscribed", "")]
        turbo.revoke(user=EVE, stream=stream)
        assert await hers.told() == [("denied", "revoked")]

        await hers.subscribe(unbound, since="?")
        assert await hers.told() == [("denied", "revoked")]
        await other.subscribe(unbound)
        assert await other.told() == [("subscribed", "")]


ENDS = {
    "password": "user.set_password('new'); user.save()",
    "deactivated": "user.is_active = False; user.save()",
    "deleted": "user.delete()",
    "session": "from django.contrib.sessions.models import Session; "
    "Session.objects.all().delete()",
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_stream_without_a_test_ends_with_the_login(
    serve: Callable[..., Any], end: str
) -> None:
    server = serve(TURBO={"RECHECK_INTERVAL": 0.5})
    stream = Announcements()
    async with page_of(server, await log_in(server, "ann")) as page:
        await page.subscribe(await signed_now(stream, ANN))
        assert await page.told() == [("subscribed", "")]

        await asyncio.to_thread(
            server.project.shell,
            "from django.contrib.auth.models import User; "
            f"user = User.objects.get(username='ann'); {ENDS[end]}",
        )

        assert await page.told() == [("denied", "revoked")]


async def test_what_is_revoked_while_an_event_stream_subscribes(
    serve: Callable[..., Any], door: Door
) -> None:
    """The test has begun, and then comes the revocation: it must not be missed."""
    server = serve(env=door.env)
    marker, gated = Announcements(), Gated(1)
    eve = await log_in(server, "eve")
    signed = await signed_now(gated, EVE)
    async with (
        page_of(server, {}) as watcher,
        httpx.AsyncClient(base_url=server.url, headers=eve, timeout=60) as http,
    ):
        await watcher.subscribe(await signed_now(marker))
        assert await watcher.told() == [("subscribed", "")]
        asking = asyncio.ensure_future(
            http.get("/turbo/sse/", params={"stream": signed})
        )
        await door.until_asked("eve 1")

        turbo.revoke(user=EVE)
        marker.append(text="the order has been heard", id="x")
        assert await watcher.told() == [("message", "")]
        door.open()
        await asyncio.to_thread(turbo.flush, 20)
        gated.append(text="secret", id="x")

        # It ends, for otherwise this would wait for ever.
        answer = await asyncio.wait_for(asking, 60)
    assert "secret" not in answer.text
