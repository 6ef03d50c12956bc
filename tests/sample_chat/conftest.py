"""The sample chat, served as its README says: ``manage.py runserver``, all embedded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.servers import PATIENCE, ROOT, Process, Valkey, free_port, unmeasured

MANAGE = str(ROOT / "sample_chat" / "manage.py")


class SampleChat(Process):
    """``manage.py runserver`` of the sample chat on a database of its own."""

    def __init__(self, directory: Path, **variables: str) -> None:
        port = free_port()
        command = [sys.executable, MANAGE, "runserver", f"127.0.0.1:{port}"]
        super().__init__([*command, "--noreload"], port=port, directory=directory)
        self.env = environment(directory) | variables

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment(directory: Path) -> dict[str, str]:
    """The variables that a process of the sample chat needs."""
    return {
        **unmeasured(),
        "DATABASE": str(directory / "db.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def manage(directory: Path, *arguments: str, **variables: str) -> str:
    """Run a management command of the sample chat; return what it prints."""
    done = subprocess.run(
        [sys.executable, MANAGE, *arguments],
        check=False,
        env=environment(directory) | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database that has the demo's rooms and users in it."""
    directory = tmp_path_factory.mktemp("demo")
    manage(directory, "migrate", "-v", "0")
    manage(directory, "demo")
    return directory


@pytest.fixture
def demo(_demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's database for this test alone."""
    return Path(shutil.copytree(_demo, tmp_path / "demo"))


@pytest.fixture(scope="session")
def chat(_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleChat]:
    """The sample chat, running; the tests share it."""
    directory = tmp_path_factory.mktemp("chat")
    yield from serve(shutil.copytree(_demo, directory, dirs_exist_ok=True))


@pytest.fixture
def pair(demo: Path, valkey: Valkey) -> Iterator[list[SampleChat]]:
    """Two processes of the sample chat that share a database and a Valkey."""
    servers = [SampleChat(demo, REDIS_URL=valkey.url) for _ in range(2)]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def own_chat(demo: Path) -> Iterator[SampleChat]:
    """The sample chat, running; the test may stop it and start it again."""
    yield from serve(demo)


def serve(directory: Path) -> Iterator[SampleChat]:
    """Start the sample chat on a database, and stop it in the end."""
    server = SampleChat(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def log_in(
    new_page: Callable[..., Awaitable[Page]],
) -> Callable[..., Awaitable[Page]]:
    """Open a page of somebody who has logged in: ``await log_in(chat, "ada")``."""

    async def log_in(server: SampleChat, name: str, **options: Any) -> Page:
        page = await new_page(base_url=server.url, locale="en-GB", **options)
        await page.goto("/login/")
        await page.get_by_label("Username").fill(name)
        await page.get_by_label("Password").fill(name)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url("/")
        return page

    return log_in
