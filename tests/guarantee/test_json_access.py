"""Who is told what by bindings and by pub/sub, on real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.clients import connect
from tests.guarantee.doors import Door, log_in
from tests.servers import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_redis")]

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

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = json.loads(await self._socket.recv())
        return message if message.get("action") != "ping" else await self.next()

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
        f"{server.ws_url}/{path}/", origin=origin, additional_headers=headers or {}
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
    pubsub = {"AUTHENTICATE": "tests.guarantee.json_site.authenticate"}
    server = site(door, TURBO={"PUBSUB": pubsub | {"ACCESS": "authenticated"}})
    token = await token_of(server, "eve")
    async with client_of(server, "pubsub") as client:
        await client.send(type="authenticate", token=token)
        await door.until_asked("eve token")
        await run(server, ENDS[end][0].replace("ann", "eve"))
        door.open()

        reason, code = await client.ended()
        assert (reason in ("forbidden", "revoked"), code) == (True, 4403)
