"""What ends a subscription ends it whatever it is to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from tests.guarantee.test_access import log_in, page_of
from tests.support.clients import connect, signed_now
from tests.support.servers import PATIENCE
from tests.testapp.models import Room
from tests.testapp.streams import Announcements

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]

ANN, CELLAR = User(pk=1, username="ann"), Room(pk=2)

#: Returns when the server has said that it is over, and nothing before that.
End = Callable[[], Awaitable[None]]


@pytest.fixture(params=["redis"])
def layer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@asynccontextmanager
async def page(server: Any, headers: dict[str, str], stream: Any) -> AsyncIterator[End]:
    async with page_of(server, headers) as page:
        await page.subscribe(await signed_now(stream, ANN))
        assert await page.told() == [("subscribed", "")]

        async def end() -> None:
            assert await page.told() == [("denied", "revoked")]

        yield end


@asynccontextmanager
async def event_stream(server: Any, headers: dict[str, str]) -> AsyncIterator[End]:
    query = {"stream": await signed_now(Announcements(), ANN)}
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http,
        http.stream("GET", "/turbo/sse/", params=query, headers=headers) as answer,
    ):
        lines = answer.aiter_lines()
        assert answer.status_code == 200
        assert (await anext(lines)).startswith("retry:")

        async def end() -> None:
            assert [line for line in [_ async for _ in lines] if "data:" in line] == []

        yield end


@asynccontextmanager
async def socket(
    server: Any, headers: dict[str, str], path: str
) -> AsyncIterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Yield how to send a message, and how to receive the next that matters."""
    options = {"origin": server.url, "additional_headers": headers}
    async with connect(f"{server.ws_url}/{path}/", **options) as connection:

        async def send(**message: Any) -> None:
            await connection.send(json.dumps(message))

        async def receive() -> dict[str, Any]:
            while True:
                async with asyncio.timeout(PATIENCE):
                    message: dict[str, Any] = json.loads(await connection.recv())
                if message.get("action") != "ping":
                    return message

        yield send, receive


@asynccontextmanager
async def observer(server: Any, headers: dict[str, str]) -> AsyncIterator[End]:
    async with socket(server, headers, "people") as (send, receive):
        await send(action="subscribe_list", request_id=1)
        assert (await receive())["response_status"] == 201

        async def end() -> None:
            told = await receive()
            assert (told["action"], told["response_status"]) == ("subscribe_list", 403)

        yield end


@asynccontextmanager
async def binding(server: Any, headers: dict[str, str]) -> AsyncIterator[End]:
    async with socket(server, headers, "store") as (_, receive):
        while (await receive()).get("payload") != "ok":
            pass

        async def end() -> None:
            told = await receive()
            assert (told["action"], told["reason"]) == ("denied", "revoked")

        yield end


@asynccontextmanager
async def changes(
    server: Any, headers: dict[str, str], *, token: str = "", stays: bool = False
) -> AsyncIterator[End]:
    """A client of pub/sub, known by its session or by a token."""
    async with socket(server, headers, "changes") as (send, receive):
        if token:
            await send(type="authenticate", token=token)
            assert (await receive())["type"] == "authenticated"
        await send(type="ping")
        while (await receive())["type"] != "pong":
            pass  # greetings

        async def end() -> None:
            if stays:
                await send(type="ping")
            told = await receive()
            assert told["type"] == ("pong" if stays else "denied")

        yield end


USER = "from django.contrib.auth.models import User; user = User.objects.get(pk=1); "
SESSION = "from django.contrib.sessions.models import Session as S; "
#: What happens, in another process, and whether the periodic re-check is needed.
ENDS = {
    "log-out": ("", False),
    "password": (f"{USER}user.set_password('new'); user.save()", False),
    "deactivated": (f"{USER}user.is_active = False; user.save()", False),
    "deleted": (f"{USER}user.delete()", False),
    "revoked": (f"{USER}import turbo; turbo.revoke(user=user)", False),
    "session": (f"{SESSION}S.objects.all().delete()", True),
    "unannounced": (f"{USER}User.objects.update(is_active=False)", True),
}
#: A token is of no session.
OF_THE_SESSION = {"log-out", "session"}


@pytest.mark.parametrize("cause", ENDS)
async def test_every_kind_of_subscription_ends(
    make_project: Callable[..., Any], daphne: Callable[..., Any], cause: str
) -> None:
    """Pages with and without a test, event streams, observers, bindings, pub/sub."""
    code, by_recheck = ENDS[cause]
    project = make_project(
        "redis",
        TURBO={"RECHECK_INTERVAL": 0.5 if by_recheck else 3_600},
    )
    server = daphne(project, application="tests.guarantee.everything:application")
    ann = await log_in(server, "ann")
    token = await asyncio.to_thread(token_of_ann, project)
    stays = cause in OF_THE_SESSION
    async with AsyncExitStack() as stack:
        ends = [
            await stack.enter_async_context(subscribed)
            for subscribed in (
                page(server, ann, CELLAR.stream),
                page(server, ann, Announcements()),
                event_stream(server, ann),
                observer(server, ann),
                binding(server, ann),
                changes(server, ann),
                changes(server, {}, token=token, stays=stays),
            )
        ]

        if code:
            await asyncio.to_thread(project.shell, code)
        else:
            async with httpx.AsyncClient(base_url=server.url, headers=ann) as http:
                await http.get("/logout/", timeout=PATIENCE)

        for end in ends:
            await end()


def token_of_ann(project: Any) -> str:
    code = f"{USER}from turbo.pubsub import make_token; print(make_token(user))"
    return str(project.shell(code)).strip()
