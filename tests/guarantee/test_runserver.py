"""``manage.py runserver`` starts itself anew when a file changes, and pages stay."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests import settings
from tests.support.clients import LivePage
from tests.support.servers import ROOT, Project, WebServer, free_port
from tests.testapp.streams import Announcements

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_redis")]


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """An app of the project that a developer works on."""
    package = tmp_path / "edited"
    package.mkdir()
    source = package / "__init__.py"
    source.write_text("version = 1\n")
    return source


@pytest.fixture
async def server(
    layer: str, make_project: Callable[..., Project], edited: Path
) -> AsyncIterator[WebServer]:
    apps = ["daphne", *settings.INSTALLED_APPS, "edited"]
    project = make_project(layer, DEBUG=True, INSTALLED_APPS=apps)
    port = free_port()
    path = os.pathsep.join([str(ROOT), str(edited.parent.parent)])
    command = ["django", "runserver", f"127.0.0.1:{port}"]
    server = WebServer(project, command, port, {"PYTHONPATH": path})
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


async def test_a_page_misses_nothing_while_the_developer_saves(
    server: WebServer, edited: Path
) -> None:
    """Twice, with messages before, meanwhile and after."""
    stream, said = Announcements(), 0

    async def say() -> None:
        nonlocal said
        for _ in range(5):
            await stream.aappend(text=f"@{said}@", id="list")
            said += 1
            await asyncio.sleep(0.05)

    async with LivePage(server.ws_url, stream.signed_stream_name) as page:
        await say()
        for version in range(2, 4):
            ended, arrived = len(page.codes), page.subscribed
            await asyncio.to_thread(edited.write_text, f"version = {version}\n")
            await page.until(lambda ended=ended: len(page.codes) > ended)
            await say()
            await page.until(lambda arrived=arrived: page.subscribed > arrived)
            await say()
        await page.until(lambda: len(page.data) >= said)

    numbers = [int(data.split("@")[1]) for data in page.data]
    assert numbers == list(range(said))
    assert (page.gaps, page.doubled) == (0, 0)
    assert server.log().count("reloading") == 2
    assert "Traceback" not in server.log()
    assert "took too long" not in server.log()
