"""The tutorial, typed by hand into an empty directory, is a chat that works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.clients import LivePage
from tests.support.documents import DOCS, ROOT, blocks
from tests.support.servers import PATIENCE, WebServer, free_port

pytestmark = pytest.mark.slow


#: All in one process, for starting one takes longer.
COMMANDS = """
import django
from django.core.management import call_command

django.setup()
for name in ("makemigrations", "migrate", "check"):
    call_command(name)
"""


class Chatter:
    """The reader's project: what the pages say is written to its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        django = [sys.executable, "-m", "django", "startproject", "config", "."]
        subprocess.run(
            django, cwd=directory, env=self._bare, check=True, timeout=2 * PATIENCE
        )

    @property
    def _bare(self) -> dict[str, str]:
        names = ("DJANGO_SETTINGS_MODULE", "TURBO_TEST_SETTINGS")
        return {name: v for name, v in os.environ.items() if name not in names}

    @property
    def env(self) -> dict[str, str]:
        """The environment of the reader, who knows nothing of these tests."""
        path = os.pathsep.join([str(self.directory), str(ROOT)])
        own = {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": path}
        return {**self._bare, **own, "PYTHONWARNINGS": "default"}

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        return self.run("manage.py", "shell", "--command", code).strip()

    def follow(self, part: str) -> None:
        """Do what one page of the tutorial says, up to its last section."""
        page = DOCS / "tutorial" / f"{part}.rst"
        for app in re.findall(r"\$ python manage.py startapp (\w+)", page.read_text()):
            self.run("manage.py", "startapp", app)
        for block in blocks(page):
            if not block.caption:
                continue
            path = self.directory / block.caption
            path.parent.mkdir(parents=True, exist_ok=True)
            added = path.suffix == ".py" and block.kind != "whole"
            before = f"{path.read_text()}\n\n" if added else ""
            path.write_text(before + block.code)
        self.run("-c", COMMANDS)


class Served(WebServer):
    """``runserver``, as the tutorial starts it."""

    def __init__(self, chatter: Chatter) -> None:
        port = free_port()
        command = ["django", "runserver", "--noreload", f"127.0.0.1:{port}"]
        super().__init__(chatter, command, port, {})  # type: ignore[arg-type]


@contextmanager
def served(chatter: Chatter) -> Iterator[Served]:
    server = Served(chatter)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def visitor(server: Served, name: str) -> Iterator[httpx.Client]:
    """Yield a browser in which somebody has logged in."""
    with httpx.Client(
        base_url=server.url, follow_redirects=True, timeout=PATIENCE
    ) as client:
        client.get("/login/")
        post(client, "/login/", username=name, password=name)
        yield client


def post(client: httpx.Client, path: str, **data: str) -> httpx.Response:
    token = {"X-CSRFToken": client.cookies["csrftoken"]}
    answer = client.post(path, data=data, headers=token)
    assert answer.status_code < 400, answer.text
    return answer


def live(server: Served, client: httpx.Client, path: str) -> LivePage:
    """Open a page as ``client`` and subscribe to all that it shows."""
    html = client.get(path).text
    found = re.findall(r'signed-stream-name="(.+?)" since="(.+?)"', html)
    names = [signed for signed, _ in found]
    cookie = {"Cookie": f"sessionid={client.cookies['sessionid']}"}
    since = found[0][1]
    return LivePage(server.ws_url, *names, since=since, additional_headers=cookie)


USERS = """
from django.contrib.auth.models import User
for name in ("ada", "grace"):
    User.objects.create_superuser(name, password=name)
Room.objects.create(name="Lobby")
"""


async def test_the_tutorial_part_by_part(tmp_path: Path) -> None:
    chatter = Chatter(tmp_path)

    chatter.follow("messages")
    chatter.shell(USERS)
    with served(chatter) as server, visitor(server, "ada") as ada:
        async with live(server, ada, "/rooms/1/") as page:
            with visitor(server, "grace") as grace:
                post(grace, "/rooms/1/messages/", text="Hello")
            await page.until(lambda: len(page.data) == 1)
    assert page.data == [
        '<turbo-stream action="append" target="messages"><template>'
        '<p id="message-1"><b>grace</b> Hello</p>\n</template></turbo-stream>'
    ]

    chatter.follow("editing")
    with served(chatter) as server, visitor(server, "grace") as grace:
        async with live(server, grace, "/rooms/1/") as page:
            post(grace, "/messages/1/edit/", text="Hello again")
            post(grace, "/messages/1/delete/")
            await page.until(lambda: len(page.data) == 2)
    assert "Hello again" in page.data[0]
    assert page.data[1] == (
        '<turbo-stream action="remove" target="message-1"></turbo-stream>'
    )

    chatter.follow("members")
    chatter.shell("Room.objects.create(name='Board room', members_only=True)")
    with served(chatter) as server, visitor(server, "grace") as grace:
        assert "You are not a member" in grace.get("/rooms/2/").text
        async with live(server, grace, "/rooms/2/") as page:
            assert page.denied == ["forbidden"]

    chatter.follow("everywhere")
    with served(chatter) as server, visitor(server, "ada") as ada:
        async with live(server, ada, "/") as page:
            post(ada, "/rooms/1/messages/", text="Counted")
            post(ada, "/admin/chat/announcement/add/", text="The kettle is on.")
            await page.until(lambda: len(page.data) == 2)
        assert 'class="count">1 message<' in ada.get("/").text
    summary, announcement = page.data
    assert 'action="replace" target="summary-1"' in summary
    assert "ada: Counted" in summary
    assert "The kettle is on." in announcement

    chatter.follow("board")
    chatter.shell(
        "from board.models import Board, Card\n"
        "Card.objects.create(board=Board.objects.create(name='Team'), title='Water')"
    )
    with served(chatter) as server, visitor(server, "ada") as ada:
        async with live(server, ada, "/board/") as page:
            card = {"board": "1", "title": "Water", "column": "done"}
            post(ada, "/admin/board/card/1/change/", **card)
            await page.until(lambda: bool(page.data))
    assert page.data == ['<turbo-stream action="refresh"></turbo-stream>']
