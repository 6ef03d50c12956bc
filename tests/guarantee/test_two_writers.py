"""However writers overtake each other, an open page ends equal to a fresh one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.clients import LivePage
from tests.support.full import for_full_runs
from tests.support.servers import PATIENCE, ROOT, Project
from tests.testapp.streams import Announcements

pytestmark = pytest.mark.slow

WRITERS = 8
ROWS = 10
#: How long they write; ``nox --session full`` asks for half a minute.
SECONDS = float(os.environ.get("TURBO_SOAK_SECONDS", "4"))

WRITER = f"""
import random, time
from tests.testapp.models import Message

end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    message = Message.objects.get(pk=random.randint(1, {ROWS}))
    time.sleep(random.uniform(0, 0.01))
    message.text = str(random.random())
    message.edited = random.random() < 0.5
    message.save(update_fields=random.choice([None, ["text"], ["edited"]]))
    time.sleep(random.uniform(0, 0.05))
"""


def rows(html: str) -> dict[str, str]:
    return dict(re.findall(r'<li id="(message-\d+)">(.*?)</li>', html))


class Mirror(LivePage):
    """A page with content: it applies what it hears and loads itself after a gap."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        super().__init__(url)
        self._http = http
        self.shown: dict[str, str] = {}
        self.loads = 0

    async def load(self) -> None:
        html = (await self._http.get("/rooms/1/")).text
        signed, since = re.findall(r'signed-stream-name="(.+?)" since="(.+?)"', html)[0]
        self.loads += 1
        self.shown = rows(html)
        self._since = {signed: since}
        self._reached.clear()

    async def _hear(self, frame: dict[str, Any], socket: Any) -> None:
        before = self.gaps, len(self.data)
        await super()._hear(frame, socket)
        if self.gaps > before[0]:
            await asyncio.sleep(0.2)  # the browser's client throttles, too
            await self.load()
            self.cut()
        elif len(self.data) > before[1]:
            self.shown |= rows(self.data[-1])


@pytest.mark.parametrize(
    "layer", ["redis", pytest.param("postgres", marks=for_full_runs)]
)
async def test_eight_processes_save_the_same_rows_at_random(
    layer: str, make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    project = make_project(layer, database="postgres")
    project.shell(
        "from tests.testapp.models import Message\n"
        f"for n in range({ROWS}): Message.objects.create(room_id=1, text=str(n))"
    )
    server = daphne(project)
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        pages = [Mirror(http, server.ws_url) for _ in range(5)]
        for page in pages:
            await page.load()
        await asyncio.gather(*(page.__aenter__() for page in pages))

        await asyncio.gather(*(write(project) for _ in range(WRITERS)))
        fresh = rows((await http.get("/rooms/1/")).text)
        for page in pages:
            await page.until(lambda p=page: p.shown == fresh)
            await page.__aexit__()

    assert len(fresh) == ROWS


async def write(project: Project) -> None:
    command = ["-m", "django", "shell", "--no-imports", "--command", WRITER]
    writer = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=project.env, stderr=subprocess.PIPE
    )
    _, errors = await writer.communicate()
    assert writer.returncode == 0, errors.decode()


KILLED = """
import os, signal, time
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import broadcast, get_publisher, moment
from turbo.runtime.context import Cause, cause_scope

name, early = Announcements().stream_name, moment()
publisher = get_publisher()
broadcast(name, "refresh", summary="refresh")  # so the gap has to wait
while publisher.waiting():
    time.sleep(0.01)
for writer, data in [("other", "newer"), ("me", "older")]:
    with cause_scope(Cause("a.B:1", writer, early)):
        broadcast(name, data)
while not publisher._throttle.waiting():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_writer_that_is_killed_still_leaves_its_gap(
    make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    """Regression: the gap waited in the writer's memory, and the older state stayed."""
    turbo = {"TIP_INTERVAL": 1, "REFRESH_INTERVAL": 600, "REFRESH_MAX_WAIT": 600}
    project = make_project("redis", TURBO=turbo)
    server = daphne(project)
    async with LivePage(server.ws_url, Announcements().signed_stream_name) as page:
        command = ["-m", "django", "shell", "--no-imports", "--command", KILLED]
        writer = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env=project.env
        )
        assert await writer.wait() == -signal.SIGKILL

        await page.until(lambda: page.gaps == 1)

    assert page.data == ["refresh", "newer", "older"]
