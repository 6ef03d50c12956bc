"""Servers and workers that fork after the application was loaded broadcast, too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from celery import Celery

from tests.support.clients import LivePage
from tests.support.full import for_full_runs
from tests.support.servers import (
    PATIENCE,
    ROOT,
    Daphne,
    Project,
    Valkey,
    WebServer,
    free_port,
)
from tests.testapp.streams import Announcements, RoomStream

pytestmark = pytest.mark.slow

COUNT = 20


@pytest.fixture(
    params=["redis", "sqlite", pytest.param("postgres", marks=for_full_runs)]
)
def project(
    request: pytest.FixtureRequest, make_project: Callable[..., Project]
) -> Project:
    return make_project(request.param)


@pytest.fixture
async def page(
    project: Project, daphne: Callable[..., Daphne]
) -> AsyncIterator[LivePage]:
    """A page of another server that shows what the workers broadcast."""
    server = daphne(project)
    names = [Announcements().signed_stream_name, RoomStream(1).signed_stream_name]
    async with LivePage(server.ws_url, *names) as page:
        yield page


def heard(page: LivePage, text: str) -> int:
    return sum(text in data for data in page.data)


async def test_gunicorn_with_the_application_loaded_before_the_workers(
    project: Project, page: LivePage
) -> None:
    port = free_port()
    options = ["--preload", "--workers", "3", "--bind", f"127.0.0.1:{port}"]
    command = ["gunicorn", *options, "tests.project.wsgi:application"]
    server = WebServer(project, command, port, {"PYTHONPATH": str(ROOT)})
    await asyncio.to_thread(server.start)
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
            for number in range(COUNT):
                url = f"/rooms/1/say/?text=from a worker {number}."
                assert (await http.get(url)).status_code == 200
        await page.until(lambda: heard(page, "from a worker") == COUNT)
    finally:
        await asyncio.to_thread(server.stop)

    assert heard(page, "from the parent") == 1
    assert page.gaps == 0


@contextmanager
def celery(project: Project, broker: str, *options: str) -> Iterator[None]:
    command = "celery --app tests.project.tasks worker --pool prefork --concurrency 3"
    env = {**project.env, "TEST_BROKER": broker, "PYTHONPATH": str(ROOT)}
    worker: Any = subprocess.Popen(
        [sys.executable, "-m", *command.split(), *options],
        cwd=project.directory,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(PATIENCE)


@pytest.mark.parametrize(
    "options", [("--max-tasks-per-child", "1"), pytest.param((), marks=for_full_runs)]
)
async def test_celery_with_forked_workers(
    project: Project, page: LivePage, valkey: Valkey, options: Sequence[str]
) -> None:
    broker = f"{valkey.url.rpartition('/')[0]}/1"
    app = Celery("tests", broker=broker)
    with celery(project, broker, *options):
        for number in range(COUNT):
            app.send_task("tests.project.tasks.say", [f"from a worker {number}."])
        await page.until(lambda: heard(page, "from a worker") == COUNT)

    assert heard(page, "from the parent") == 1
    assert page.gaps == 0


async def test_celery_shows_how_far_it_is(
    project: Project, page: LivePage, valkey: Valkey
) -> None:
    """The sender of the texts runs in the worker, not in its parent."""
    broker = f"{valkey.url.rpartition('/')[0]}/1"
    app = Celery("tests", broker=broker)
    with celery(project, broker, "--max-tasks-per-child", "1"):
        for _ in range(2):
            app.send_task("tests.project.tasks.count", [1_000])
            ends = heard(page, 'state="finished"') + 1
            await page.until(lambda n=ends: heard(page, 'state="finished"') == n)

    assert heard(page, 'value="1000" total="1000" note="Row 999"') == 2
    assert heard(page, 'action="progress"') == 2, "only the ends have numbers"
