"""``manage.py runserver`` starts itself anew when a file changes, and pages stay."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests import settings
from tests.support.clients import LivePage
from tests.support.servers import ROOT, Project, WebServer, free_port, wait_until
from tests.testapp.streams import Announcements

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]


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
    logging = copy.deepcopy(settings.LOGGING)
    logging["loggers"]["django.utils.autoreload"] = {
        "handlers": ["console"],
        "level": "DEBUG",
        "propagate": False,
    }
    project = make_project(layer, DEBUG=True, INSTALLED_APPS=apps, LOGGING=logging)
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

    def wait_until_watched(runs: int) -> None:
        """
        Wait until the server of this run has seen the file as it is.

        Django looks for the first time when the server already answers; a file that
        is changed before does not start it anew.
        """
        seen = f"File {edited} first seen"
        wait_until(lambda: server.log().count(seen) == runs, what=seen)

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
            await asyncio.to_thread(wait_until_watched, version - 1)
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
