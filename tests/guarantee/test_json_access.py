"""Who is told what by bindings and by pub/sub, on real servers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest

from tests.guarantee.doors import Door, log_in
from tests.support.clients import connect
from tests.support.full import for_full_runs
from tests.support.servers import PATIENCE, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("same_layer"),
    # The consumers are the same on each server.
    pytest.mark.parametrize(
        "serve",
        [
            "daphne",
            pytest.param("fast", marks=for_full_runs),
            pytest.param("uvicorn", marks=for_full_runs),
        ],
        indirect=True,
    ),
]

SITE = "tests.guarantee.json_site:application"


@pytest.fixture(params=["redis"])
def layer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def site(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Start a server of the JSON clients: ``site(door, TURBO={…})``."""

    def make(door: Door | None = None, **settings: Any) -> Any:
        env, urls = door.env if door else None, "tests.guarantee.json_urls"
        return serve(env, application=SITE, ROOT_URLCONF=urls, **settings)

    return make


class Client:
    """A JSON client, message by message."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def send_text(self, text: str | bytes) -> None:
        await self._socket.send(text)

    async def any(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = json.loads(await self._socket.recv())
        return message

    async def next(self) -> dict[str, Any]:
        """Return the next message that is no sign of life."""
        while (message := await self.any()).get("action") == "ping":
            pass
        return message

    async def synced(self) -> list[dict[str, Any]]:
        """Return the messages up to the one that says that is all."""
        messages = [await self.next()]
        while messages[-1].get("payload") != "ok":
            messages.append(await self.next())
        return messages

    async def ended(self) -> tuple[str, int | None]:
        """Return the reason that is given, and the code of the close after it."""
        message = await self.next()
        while message.get("action", message.get("type")) != "denied":
            message = await self.next()
        return message["reason"], await self.code()

    async def code(self) -> int | None:
        async with asyncio.timeout(PATIENCE):
            await self._socket.wait_closed()
        code: int | None = self._socket.close_code
        return code


@asynccontextmanager
async def client_of(
    server: Any, path: str, headers: dict[str, str] | None = None
) -> AsyncIterator[Client]:
    origin: Any = server.url
    async with connect(
        f"{server.ws_url}/{path}" if "?" in path else f"{server.ws_url}/{path}/",
        origin=origin,
        additional_headers=headers or {},
    ) as socket:
        yield Client(socket)


async def run(server: Any, code: str) -> str:
    """Run code within the server, with the users by their names."""
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        answer = await http.get(f"{server.url}/run/", params={"code": code})
    assert answer.status_code == 200, code
    return answer.text


async def token_of(server: Any, username: str) -> str:
    return await run(
        server, f"import turbo.pubsub as p; said = p.make_token({username})"
    )


# --- The end of access

BINDINGS = ["store", "members"]
ALL = [*BINDINGS, "session", "token"]
#: What ends which clients; the bearer of a token has no session.
ENDS: dict[str, tuple[str, list[str]]] = {
    "logout": ("", [*BINDINGS, "session"]),
    "session": (
        "from django.contrib.sessions.models import Session; "
        "Session.objects.all().delete()",
        [*BINDINGS, "session"],
    ),
    "password": ("ann.set_password('new'); ann.save()", ALL),
    "deactivated": ("ann.is_active = False; ann.save()", ALL),
    "deleted": ("ann.delete()", ALL),
    "revoked": ("import turbo; turbo.revoke(user=ann)", ALL),
    # Of which no signal tells: the periodic re-check finds it.
    "unheard": ("type(ann).objects.update(is_active=False)", ALL),
    "test": ("type(ann).objects.update(email='out')", ["members"]),
}


@pytest.mark.parametrize("end", ENDS)
async def test_json_clients_end_with_the_access(
    site: Callable[..., Any], end: str
) -> None:
    """A binding with a test and one without; pub/sub by session and by token."""
    often = {"RECHECK_INTERVAL": 0.5} if end in ("session", "unheard", "test") else {}
    server = site(TURBO={"PUBSUB": {"ACCESS": "authenticated"}, **often})
    headers, token = await log_in(server, "ann"), await token_of(server, "ann")
    code, ended = ENDS[end]
    async with AsyncExitStack() as stack:
        clients = {}
        for name, path in zip(ALL, [*BINDINGS, "pubsub", "pubsub"], strict=True):
            mine = headers if name != "token" else {}
            clients[name] = await stack.enter_async_context(
                client_of(server, path, mine)
            )
        for name in BINDINGS:
            await clients[name].synced()
        await clients["session"].send(type="ping")
        assert await clients["session"].next() == {"type": "pong"}
        await clients["token"].send(type="authenticate", token=token)
        assert await clients["token"].next() == {"type": "authenticated"}

        if end == "logout":
            async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as http:
                await http.get(f"{server.url}/logout/")
        else:
            await run(server, code)

        for name in ended:
            assert await clients[name].ended() == ("revoked", 4403), name
        for name in set(ALL) - set(ended):
            is_binding = name in BINDINGS
            await clients[name].send(**({"ping": True} if is_binding else PING))
            assert "pong" in (await clients[name].next()).values(), name


PING = {"type": "ping"}


@pytest.mark.parametrize(
    "code", [ENDS[end][0] for end in ("password", "deactivated", "revoked")]
)
async def test_what_is_revoked_while_a_binding_asks_its_test(
    site: Callable[..., Any], door: Door, code: str
) -> None:
    """The test has begun, and then comes the end: it must not be missed."""
    server = site(door)
    async with client_of(server, "members", await log_in(server, "eve")) as client:
        await door.until_asked("eve store")
        await run(server, code.replace("ann", "eve"))
        door.open()

        assert await client.ended() == ("revoked", 4403)


@pytest.mark.parametrize("end", ["password", "deactivated", "deleted"])
async def test_what_ends_while_a_token_is_looked_at(
    site: Callable[..., Any], door: Door, end: str
) -> None:
    pubsub = {"AUTHENTICATE": "tests.guarantee.json_hooks.authenticate"}
    server = site(door, TURBO={"PUBSUB": pubsub | {"ACCESS": "authenticated"}})
    token = await token_of(server, "eve")
    async with client_of(server, "pubsub") as client:
        await client.send(type="authenticate", token=token)
        await door.until_asked("eve token")
        await run(server, ENDS[end][0].replace("ann", "eve"))
        door.open()

        reason, code = await client.ended()
        assert (reason in ("forbidden", "revoked"), code) == (True, 4403)


# --- Bindings


async def test_nobody_is_told_anything_before_the_test_has_passed(
    site: Callable[..., Any], door: Door
) -> None:
    """However long it takes; signs of life go to all connections meanwhile."""
    server = site(door, TURBO={"HEARTBEAT": 0.1})
    await run(server, "eve.email = 'out'; eve.save()")
    ann, eve = await log_in(server, "ann"), await log_in(server, "eve")
    async with (
        client_of(server, "members", eve) as hers,
        client_of(server, "store", ann) as other,
    ):
        await door.until_asked("eve store")
        for _ in range(3):
            while (await other.any())["action"] != "ping":
                pass
        door.open()

        assert (await hers.any())["action"] == "denied"
        assert await hers.code() == 4403


async def test_nobody_waits_for_the_slow_test_of_another(
    site: Callable[..., Any], door: Door
) -> None:
    server = site(door)
    ann, eve = await log_in(server, "ann"), await log_in(server, "eve")
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(client_of(server, "members", eve))
        await door.until_asked("eve store")
        async with client_of(server, "members", ann) as other:
            await other.synced()
        assert door.asked().count("eve store") == 1
        door.open()


JUNK: list[tuple[str | bytes, str]] = [
    (b"", "binary"),
    (b"\xff\x00", "binary"),
    ("", "malformed"),
    ("\x00", "malformed"),
    ("[" * 60_000, "malformed"),
    ('{"version":' + "[" * 30_000, "malformed"),
    (f'{{"version":{"9" * 5_000}}}', "malformed"),
    ("x" * 70_000, "too_large"),
    ("null", "not_object"),
    ("NaN", "malformed"),
    ("1e999", "malformed"),
    ('"ping"', "not_object"),
    ("[[]]", "not_object"),
    ("{}", "unknown_type"),
    ('{"Version":"a:1"}', "unknown_type"),
    ('{"version":true}', "invalid"),
    ('{"version":7}', "invalid"),
    ('{"version":NaN}', "malformed"),
    ('{"version":["a:1"]}', "invalid"),
    ('{"version":{"a":1},"ping":true}', "invalid"),
    ('{"ping":false}', "invalid"),
    ('{"ping":0,"disconnect":null}', "invalid"),
]
#: What could be a version, and is none that the store knows.
VERSIONS = [
    "",
    "\x00",
    "\ud800:5",
    "a:999999999999999",
    "a:1e5",
    "a:-1",
    "a:" + "9" * 10_000,
    "@5.a",
    "a:5@7.b",
    None,
]


async def test_a_binding_answers_whatever_is_said(site: Callable[..., Any]) -> None:
    """And goes on; nothing is logged for it."""
    server = site()
    async with client_of(server, "store") as client:
        await client.synced()
        for frame, reason in JUNK:
            await client.send_text(frame)
            answer = await client.next()
            assert (answer["action"], answer.get("reason")) == ("error", reason), frame
        for version in VERSIONS:
            await client.send(version=version)
            assert [m.get("page") for m in await client.synced()] == [1, None], version
    assert_quiet(server)


#: Arguments in the URL with which no database can be asked.
UNASKABLE = [
    "shelf/99999999999999999999999999",
    "named/text",
    "named/NaN",
    "named/1%00",
    "named/%ED%A0%80",
]


async def test_arguments_that_no_database_takes(site: Callable[..., Any]) -> None:
    """They are refused with a word, and those that come later find everything."""
    server = site()
    for path in UNASKABLE:
        async with client_of(server, path) as client:
            assert await client.ended() == ("unknown", 4403), path
    for path in ("named/" + "9" * 30, "shelf/5"):
        async with client_of(server, path) as client:
            assert len(await client.synced()) == 2, path
    assert_quiet(server)


async def test_what_a_client_of_a_binding_may_ask_for(
    site: Callable[..., Any],
) -> None:
    """So many rows in a minute; it is kept up to date nevertheless."""
    server = site(TURBO={"USER_LIMITS": {"REPLAY_BYTES": 1_000}})
    await run(server, f"{PRODUCTS}for n in range(5): create(name='x' * 100)")
    headers = await log_in(server, "ann")
    async with client_of(server, "store", headers) as first:
        await first.synced()
        await first.send(version="")
        assert (await first.next())["reason"] == "limit"
        async with client_of(server, "store", headers) as second:
            assert (await second.next())["reason"] == "limit"
            assert await second.code() == 4013
        async with client_of(server, "store") as stranger:
            await stranger.synced()

        await run(server, f"{PRODUCTS}create(name='y')")
        assert (await first.next())["action"] == "create"


PRODUCTS = """
from tests.bindings.app.models import Product
create = Product.objects.create
"""


async def test_how_many_clients_of_bindings_a_user_may_have(
    site: Callable[..., Any],
) -> None:
    server = site(TURBO={"USER_LIMITS": {"SUBSCRIPTIONS": 2}})
    headers = await log_in(server, "ann")
    async with client_of(server, "store", headers) as first:
        await first.synced()
        async with client_of(server, "shelf/7", headers) as second:
            await second.synced()
            async with client_of(server, "shelf/8", headers) as third:
                assert (await third.next())["reason"] == "limit"
                assert await third.code() == 4013
            async with client_of(server, "shelf/8") as stranger:
                await stranger.synced()
        await first.send(ping=True)
        assert (await first.next())["action"] == "pong"
    async with client_of(server, "shelf/9", headers) as again:
        await again.synced()


@contextmanager
def lazy(server: Any, path: str) -> Iterator[socket.socket]:
    """A client with a small buffer, which reads nothing but the handshake."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(PATIENCE)
    with connection:
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(
            f"GET /{path}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Origin: {server.url}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield connection


LARGE = f"{PRODUCTS}for n in range(300): create(name=str(n) + 'x' * 40_000)"
CLIENTS = """
from turbo.bindings.clients.client import BindingClient
from turbo.delivery.hub import _hubs
said = [type(c) for h in list(_hubs.values()) for c in list(h._connections)]
said = said.count(BindingClient)
"""


async def test_a_client_that_does_not_read_its_sync_is_closed(
    site: Callable[..., Any],
) -> None:
    """When more than QUEUE_BYTES wait behind what it is told; others hear them."""
    server = site()
    await run(server, LARGE)
    async with client_of(server, "store") as other:
        await other.synced()
        with lazy(server, "store"):
            await until_clients(server, 2)
            for number in range(100):
                await run(server, f"{PRODUCTS}create(name='y' * {100_000 + number})")
                assert (await other.next())["action"] == "create"
                if await counted(server, "closed_slow"):
                    break
            else:
                pytest.fail("not closed")
            await until_clients(server, 1)


async def test_a_client_that_leaves_amid_its_sync_leaves_nothing(
    site: Callable[..., Any],
) -> None:
    server = site()
    await run(server, LARGE)
    async with client_of(server, "store") as other:
        await other.synced()
        with lazy(server, "store"), lazy(server, "store"):
            await until_clients(server, 3)
        await until_clients(server, 1)
        await other.send(ping=True)
        assert (await other.next())["action"] == "pong"


async def until_clients(server: Any, count: int) -> None:
    """Return when the server has so many clients of bindings."""

    def has_them() -> bool:
        url, params = f"{server.url}/run/", {"code": CLIENTS}
        return httpx.get(url, params=params, timeout=PATIENCE).text == str(count)

    await asyncio.to_thread(wait_until, has_them)


async def counted(server: Any, name: str) -> int:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        answer = await http.get(f"{server.url}/counters/")
    count: int = answer.json()[name]
    return count


# --- Pub/sub

LABELS = {"EXTRA_MODELS": ["tests.guarantee.json_hooks.LabelListenConfig"]}
LABEL = "from tests.bindings.app.models import Label; Label.objects.create(text={!r})"


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["data"]["text"] for message in messages]


async def ready(client: Client) -> None:
    """Return when the client hears of changes."""
    await client.send(**PING)
    assert await client.next() == {"type": "pong"}


async def test_nobody_waits_for_the_slow_access_of_another(
    site: Callable[..., Any], door: Door
) -> None:
    """Who is slow is told everything, too, in order; asked once, on two sockets."""
    server = site(door, TURBO={"PUBSUB": LABELS})
    ann, eve = await log_in(server, "ann"), await log_in(server, "eve")
    async with AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(client_of(server, "pubsub", eve))
            for _ in range(2)
        ]
        other = await stack.enter_async_context(client_of(server, "pubsub", ann))
        nobody = await stack.enter_async_context(client_of(server, "pubsub"))
        for client in (*slow, other, nobody):
            await ready(client)
        for text in "abc":
            await run(server, LABEL.format(text))
            for client in (other, nobody):
                assert texts([await client.next()]) == [text]
        assert door.asked().count("eve a") == 1
        door.open()

        for client in slow:
            assert texts([await client.next() for _ in range(3)]) == ["a", "b", "c"]
        assert [door.asked().count(f"eve {text}") for text in "abc"] == [1, 1, 1]


async def test_who_becomes_another_is_told_what_may_be_missing(
    site: Callable[..., Any], door: Door
) -> None:
    """What was being decided for whom it was is not for whom it is."""
    server = site(door, TURBO={"PUBSUB": LABELS})
    token, eve = await token_of(server, "ann"), await log_in(server, "eve")
    async with client_of(server, "pubsub", eve) as client:
        await ready(client)
        await run(server, LABEL.format("a"))
        await door.until_asked("eve a")
        await client.send(type="authenticate", token=token)

        assert await client.next() == {"type": "authenticated"}
        assert await client.next() == {"type": "gap"}
        await run(server, LABEL.format("b"))
        assert texts([await client.next()]) == ["b"]
        door.open()


SENT: list[tuple[str | bytes, str]] = [
    *JUNK[: JUNK.index(("{}", "unknown_type")) + 1],
    ('{"type":null}', "unknown_type"),
    ('{"type":["ping"]}', "unknown_type"),
    ('{"type":NaN}', "malformed"),
    ('{"type":"authenticate","token":true}', "invalid"),
    ('{"type":"authenticate","token":""}', "invalid"),
    ('{"type":"authenticate","token":["x"]}', "invalid"),
    ('{"type":"authenticate","token":1e999}', "malformed"),
]
TOKENS = ["x", "\x00", "\ud800", "a:b:c", ":::", "e" * 8_192, "\n", "W10:1:x"]


async def test_pubsub_answers_whatever_is_said(site: Callable[..., Any]) -> None:
    """And goes on; a bad token is the end. Nothing is logged for any of it."""
    server = site()
    async with client_of(server, "pubsub") as client:
        for frame, reason in SENT:
            await client.send_text(frame)
            answer = await client.next()
            assert (answer["type"], answer.get("reason")) == ("error", reason), frame
        await ready(client)
    for token in TOKENS:
        async with client_of(server, "pubsub") as client:
            await client.send(type="authenticate", token=token)
            assert await client.ended() == ("token", 4403), token
    assert_quiet(server)


async def test_what_a_client_of_pubsub_may_ask_for(site: Callable[..., Any]) -> None:
    """So many connections of one user, by token or session, and so many tokens."""
    limits = {
        "USER_LIMITS": {"SUBSCRIPTIONS": 1},
        "CONNECTION_LIMITS": {"TESTS": 2},
    }
    server = site(TURBO=limits)
    headers, token = await log_in(server, "ann"), await token_of(server, "ann")
    async with client_of(server, "pubsub") as first:
        for answer in ("authenticated", "authenticated", "error"):
            await first.send(type="authenticate", token=token)
            assert (await first.next())["type"] == answer
        await ready(first)
        async with client_of(server, "pubsub", headers) as second:
            assert (await second.next())["reason"] == "limit"
            assert await second.code() == 4013
        async with client_of(server, "pubsub") as second:
            await second.send(type="authenticate", token=token)
            assert (await second.next())["reason"] == "limit"
            assert await second.code() == 4013
    async with client_of(server, "pubsub", headers) as again:
        await ready(again)


def assert_quiet(server: Any) -> None:
    """Nothing was logged that an operator has to look at."""
    log = server.log()
    assert "Traceback" not in log, log
    assert "ERROR" not in log, log
