"""
Apps written for turbo-django 0.4 run: its documented cases, in a browser.

They are in ``project``, which knows nothing of this library. To see that they are what
they should be, run them with the original: ``TURBO_DJANGO_PYTHON`` names an interpreter
that has turbo-django, Daphne and channels-redis.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.servers import PATIENCE, ROOT, Daphne, Project, Valkey
from turbo.testing import await_for_streams

pytestmark = pytest.mark.browser

DIRECTORY = Path(__file__).parent / "project"
ORIGINAL = os.environ.get("TURBO_DJANGO_PYTHON")

NewPage = Callable[[], Awaitable[Page]]


class Site(Project):
    """The apps and their server."""

    def __init__(self, directory: Path, valkey: Valkey) -> None:
        super().__init__(directory, {"DATABASES": {"default": {}}})
        self._redis_port = valkey.port
        self._python = ORIGINAL or sys.executable

    @property
    def env(self) -> dict[str, str]:
        paths = [str(DIRECTORY)] if ORIGINAL else [str(DIRECTORY), str(ROOT)]
        return {
            **super().env,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": os.pathsep.join(paths),
            "COMPAT_DATABASE": str(self.directory / "db.sqlite3"),
            "COMPAT_REDIS_PORT": str(self._redis_port),
        }

    async def run(self, *lines: str) -> None:
        """Do this in ``manage.py shell``."""
        await asyncio.to_thread(self.shell, "\n".join(lines))


@pytest.fixture
def site(tmp_path: Path, valkey: Valkey) -> Site:
    site = Site(tmp_path, valkey)
    site.migrate()
    return site


@pytest.fixture
def url(site: Site, daphne: Callable[..., Daphne]) -> str:
    return daphne(site, application="config.asgi:application").url


async def visit(page: Page, url: str) -> None:
    await page.goto(url)
    if ORIGINAL:
        await asyncio.sleep(2)  # it does not say when it is subscribed
    else:
        await await_for_streams(page, timeout=PATIENCE)


async def test_the_quickstart(site: Site, url: str, page: Page) -> None:
    await visit(page, f"{url}/quickstart/")
    load = "from quickstart.streams import BroadcastStream"

    await site.run(load, "BroadcastStream().update(text='12:00 <noon>', id='box')")
    await expect(page.locator("#box")).to_have_text("12:00 <noon>")

    await site.run(load, "BroadcastStream().append(text=', 12:01', selector='.box')")
    await expect(page.locator("#box")).to_have_text("12:00 <noon>, 12:01")


async def test_the_chat_of_the_tutorial(
    site: Site, url: str, new_page: NewPage
) -> None:
    rooms, one, other = [await new_page() for _ in range(3)]
    load = "from chat.models import *; from chat.streams import *"
    await visit(rooms, f"{url}/chat/")

    await site.run(load, "Room.objects.create(name='Test room')")
    await expect(rooms.locator("#room_list li")).to_have_text(["Test room"])

    await visit(one, f"{url}/chat/1/")
    await visit(other, f"{url}/chat/1/")
    for text in ("first", "second"):
        await one.fill("[name=text]", text)
        await one.click("text=Send")
        await expect(one.locator("#send-message [name=text]")).to_have_value("")
    for window in (one, other):
        messages = window.locator("#messages span")
        await expect(messages).to_have_text(["first", "second"])

    edit = "message = Message.objects.first(); message.text = '1st'; message.save()"
    await site.run(load, edit)
    await other.click("#message-2 a")
    for window in (one, other):
        await expect(window.locator("#messages span")).to_have_text(["1st"])

    await site.run(load, "RoomListStream().delete_all()")
    await expect(rooms.locator("#room_list li")).to_have_count(0)


async def test_the_reminders(site: Site, url: str, page: Page) -> None:
    await page.goto(f"{url}/reminders/")
    reminders = page.locator("#reminders li")

    for text in ("Buy milk", "Buy tea", "Call Ann"):
        await page.fill("[name=text]", text)
        await page.click("text=Add")
        await expect(reminders.last).to_have_text(text)
    await page.fill("[name=search]", "buy")
    await page.click("text=Search")
    await expect(reminders).to_have_text(["Buy milk", "Buy tea"])
    await page.click("text=Delete All")
    await expect(reminders).to_have_count(0)

    await page.reload()
    await expect(page.locator("#reminders")).to_be_attached()
    await expect(reminders).to_have_count(0)


async def test_the_components(site: Site, url: str, new_page: NewPage) -> None:
    stranger, ann = await new_page(), await new_page()
    await visit(stranger, f"{url}/components/")
    await visit(ann, f"{url}/log-in/ann/")
    for page in (stranger, ann):
        await expect(page.locator("aside b")).to_have_text("99")
        await expect(page.locator(".alert")).to_have_count(0)

    await site.run(
        "from app.streams import *",
        "alert = AlertComponent()",
        "alert.render(alert_class='warning', alert_content='Back at noon')",
    )

    for page in (stranger, ann):
        await expect(page.locator(".alert.alert-warning")).to_have_text("Back at noon")


@pytest.mark.skipif(bool(ORIGINAL), reason="there, its ASGI stack knows no users")
async def test_a_component_of_a_user(site: Site, url: str, new_page: NewPage) -> None:
    ann, bob = await new_page(), await new_page()
    await visit(ann, f"{url}/log-in/ann/")
    await visit(bob, f"{url}/log-in/bob/")

    await site.run(
        "from app.streams import CartCountComponent",
        "from django.contrib.auth.models import User",
        "CartCountComponent(User.objects.get(username='ann')).render(count=25)",
        "CartCountComponent(User.objects.get(username='bob').pk).render(count=7)",
    )

    await expect(ann.locator("aside b")).to_have_text("25")
    await expect(bob.locator("aside b")).to_have_text("7")


def test_the_apps_know_nothing_of_this_library() -> None:
    """Nothing is used that turbo-django does not have."""
    known: dict[str, Any] = {
        "turbo": {"Stream", "ModelStream"},
        "turbo.components": {"BroadcastComponent", "UserBroadcastComponent"},
        "turbo.consumers": {"TurboStreamsConsumer"},
        "turbo.shortcuts": {"remove_frame", "render_frame"},
    }
    sources = [path.read_text() for path in DIRECTORY.rglob("*.py")]
    lines = [line for text in sources for line in text.splitlines() if "turbo" in line]
    imports = [line.split() for line in lines if line.startswith(("from", "import"))]

    for words in imports:
        assert words[1] in known
        names = {word.strip(",") for word in words[3:]}
        assert names <= known[words[1]]
