"""Who is present over several processes, of which one is killed, paused or cut off."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import websockets

from tests.support.clients import LivePage, connect
from tests.support.full import IS_FULL, for_full_runs, with_redis_or_postgres
from tests.support.servers import PATIENCE, Project, Uvicorn, Valkey
from tests.testapp.streams import Lounge

pytestmark = pytest.mark.slow

ROOM = Lounge(1)
#: In a full run as many as the issue names, and with the times of a real site.
USERS = 1_000 if IS_FULL else 20
TIMES: dict[str, Any] = {} if IS_FULL else {"PRESENCE_GRACE": 1.0}
EXPIRY: dict[str, Any] = {} if IS_FULL else {"PRESENCE_EXPIRY": 6.0}

MAKE_USERS = """
import json
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from tests.testapp.streams import Lounge

found = []
with transaction.atomic():
    for number in range({count}):
        user = User.objects.create(username=f"user{{number}}")
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        found.append([user.pk, session.session_key, Lounge(1).sign(user)])
print(json.dumps([found, Lounge(1).sign()]))
"""


class Visitors:
    """Users of a site, their sessions, and a page that hears who joins and leaves."""

    def __init__(self, project: Project, count: int) -> None:
        said = project.shell(MAKE_USERS.format(count=count))
        self.users, self.name = json.loads(said.splitlines()[-1])

    @asynccontextmanager
    async def watched(self, *servers: Uvicorn) -> AsyncIterator[Told]:
        """Watch from a page that is open all the time, on any of the servers."""
        async with LivePage([server.ws_url for server in servers], self.name) as page:
            yield Told(page, self.users)

    @asynccontextmanager
    async def tab(self, number: int, server: Uvicorn) -> AsyncIterator[None]:
        """Open a tab of a user, which does not come back when it is cut off."""
        _, session, name = self.users[number]
        headers = {"Cookie": f"sessionid={session}"}
        url = f"{server.ws_url}/ws/"
        async with connect(
            url, origin=server.url, additional_headers=headers
        ) as socket:
            streams = [{"name": name, "since": ""}]
            await socket.send(json.dumps({"type": "subscribe", "streams": streams}))
            async with asyncio.timeout(PATIENCE):
                while json.loads(await socket.recv())["type"] != "subscribed":
                    pass
            reading = asyncio.ensure_future(self._read(socket))
            try:
                yield
            finally:
                reading.cancel()

    async def _read(self, socket: Any) -> None:
        try:
            async for _ in socket:
                pass
        except websockets.WebSocketException:
            pass  # its server was killed


class Told:
    """How often each user has joined and left, as the hooks of the stream said it."""

    def __init__(self, page: LivePage, users: Sequence[Any]) -> None:
        self.page = page
        self._keys = {f"user{number}": user[0] for number, user in enumerate(users)}

    def joined(self) -> Counter[int]:
        return Counter(
            key
            for name, key in self._keys.items()
            for data in self.page.data
            if f">{name}<" in data
        )

    def left(self) -> Counter[int]:
        return Counter(
            key
            for key in self._keys.values()
            for data in self.page.data
            if f'target="user_{key}"' in data
        )

    async def until(self, joined: int, left: int) -> None:
        """Wait until so many have joined and left; each of them once."""
        wanted = joined + left
        await self.page.until(lambda: len(self.page.data) >= wanted)
        assert self.joined().total() == len(self.joined()) == joined
        assert self.left().total() == len(self.left()) == left


@with_redis_or_postgres
async def test_each_joins_and_leaves_once_over_three_processes_of_which_one_is_killed(
    layer: str, make_project: Callable[..., Project], uvicorn: Callable[..., Uvicorn]
) -> None:
    """Each has three tabs: some on all processes, and some only on the killed one."""
    project = make_project(layer, TURBO=TIMES | EXPIRY)
    one, two, three = servers = [uvicorn(project) for _ in range(3)]
    visitors = await asyncio.to_thread(Visitors, project, USERS)
    spread, going = range(USERS // 2), range(USERS // 2, 3 * USERS // 4)
    killed = range(3 * USERS // 4, USERS)

    async with AsyncExitStack() as stack:
        told = await stack.enter_async_context(visitors.watched(one, two))

        async def open_all(stack: AsyncExitStack, users: range, *at: Uvicorn) -> None:
            for number in users:
                for server in at:
                    await stack.enter_async_context(visitors.tab(number, server))

        await open_all(stack, spread, *servers)
        await open_all(stack, killed, three, three, three)
        async with AsyncExitStack() as leaving:
            await open_all(leaving, going, *servers)
            await told.until(joined=USERS, left=0)
        await told.until(joined=USERS, left=len(going))

        three.kill()
        await told.until(joined=USERS, left=len(going) + len(killed))
    assert told.joined().keys() == {key for key, *_ in visitors.users}


async def test_who_comes_back_to_another_process_was_there_all_the_time(
    make_project: Callable[..., Project], uvicorn: Callable[..., Uvicorn]
) -> None:
    """The process is killed, and the page is on the next one before the lease ends."""
    project = make_project("redis", TURBO=TIMES | EXPIRY)
    one, two = uvicorn(project), uvicorn(project)
    visitors = await asyncio.to_thread(Visitors, project, 2)

    async with (
        visitors.watched(two) as told,
        visitors.tab(1, one),
        visitors.tab(0, one),
    ):
        await told.until(joined=2, left=0)
        one.kill()
        async with visitors.tab(0, two):
            await told.until(joined=2, left=1)  # the other one

            assert told.left().keys() == {visitors.users[1][0]}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("killed", marks=for_full_runs),
        pytest.param("paused", marks=for_full_runs),
        "flushed",
    ],
)
async def test_nobody_leaves_or_joins_because_redis_was_away(
    how: str,
    valkey: Valkey,
    make_project: Callable[..., Project],
    uvicorn: Callable[..., Uvicorn],
) -> None:
    """All leases have ended or are lost, and their holders renew them first."""
    project = make_project("redis", TURBO=TIMES | EXPIRY)
    one, two = uvicorn(project), uvicorn(project)
    visitors = await asyncio.to_thread(Visitors, project, 4)

    async with visitors.watched(one) as told, AsyncExitStack() as stack:
        for number, server in enumerate((one, two)):
            await stack.enter_async_context(visitors.tab(number, server))
        await told.until(joined=2, left=0)

        await lose(valkey, how)
        async with visitors.tab(2, two):
            await told.until(joined=3, left=0)
        await told.until(joined=3, left=1)


async def lose(valkey: Valkey, how: str) -> None:
    """Let all leases end, or go."""
    if how == "flushed":
        valkey.flush()
    elif how == "killed":
        await asyncio.to_thread(valkey.kill)
        await asyncio.to_thread(valkey.start)
    else:
        valkey.pause()
        await asyncio.sleep(8.0)  # longer than all leases
        valkey.resume()


@for_full_runs  # it may take a minute until another process tells
async def test_who_was_told_to_have_left_joins_again_when_the_process_goes_on(
    make_project: Callable[..., Project], uvicorn: Callable[..., Uvicorn]
) -> None:
    """A process may be stopped for longer than its leases last."""
    project = make_project("redis", TURBO=TIMES | EXPIRY)
    one, two = uvicorn(project), uvicorn(project)
    visitors = await asyncio.to_thread(Visitors, project, 2)

    async with visitors.watched(two) as told, visitors.tab(1, two):
        async with visitors.tab(0, one):
            await told.until(joined=2, left=0)
            one.pause()
            await told.until(joined=2, left=1)
            one.resume()
            await told.page.until(lambda: told.joined().total() == 3)

        assert told.left() == {visitors.users[0][0]: 1}
