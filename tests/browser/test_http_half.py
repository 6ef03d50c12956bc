"""Forms, frames and refreshes of a real site, with a broadcast in between."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.browser.watching import is_marked, let_pass, mark, turn_clock
from tests.support.servers import PATIENCE
from turbo.testing import await_for_streams

pytestmark = pytest.mark.browser

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "turbo.middleware.TurboMiddleware",
]

NewPage = Callable[..., Awaitable[Page]]


class BoardSite:
    """A server with one board."""

    def __init__(self, project: Any, server: Any) -> None:
        self.project = project
        self.url = server.url
        self.log = server.log

    async def visit(self, page: Page, visitor: str, **query: Any) -> None:
        """Open the board, and wait until the page is subscribed."""
        extra = "".join(f"&{name}={value}" for name, value in query.items())
        await page.goto(f"{self.url}/boards/1/?as={visitor}{extra}")
        await await_for_streams(page, count=2, timeout=PATIENCE)

    async def get(self, path: str, **query: Any) -> str:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE) as http:
            answer = await http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def times_shown(self, visitor: str) -> int:
        return int(await self.get(f"/boards/shown/{visitor}/"))

    async def until_shown(self, visitor: str, times: int) -> None:
        """Poll until a visitor's request has reached the board so often."""
        while await self.times_shown(visitor) < times:  # noqa: ASYNC110 (a server)
            await asyncio.sleep(0.02)

    async def name(self) -> str:
        """Return the board's name as the database has it."""
        html = await self.get("/boards/1/")
        return re.findall("<h1>(.*)</h1>", html)[0]


@pytest.fixture
def turbo_settings() -> dict[str, Any]:
    return {}


@pytest.fixture
def site(
    make_project: Callable[..., Any],
    daphne: Callable[..., Any],
    turbo_settings: dict[str, Any],
) -> BoardSite:
    project = make_project("redis", MIDDLEWARE=MIDDLEWARE, TURBO=turbo_settings)
    return BoardSite(project, daphne(project))


async def settled(page: Page) -> None:
    """Let a refresh come that should not, and wait for its end."""
    await let_pass(page, seconds=2)
    await page.wait_for_function("() => !Turbo.navigator.currentVisit")


# --- Frames


async def test_a_frame_is_edited_in_place(site: BoardSite, page: Page) -> None:
    await site.visit(page, "ann")
    await mark(page)
    await page.fill("#draft", "half a th")

    await page.click("text=Rename")
    await page.fill("#name_board_1 input[name=name]", "Plan B")
    await page.click("text=Save")

    await expect(page.locator("h1")).to_have_text("Plan B")
    assert await page.input_value("#draft") == "half a th"
    assert await is_marked(page)
    assert page.url.endswith("/boards/1/?as=ann")


async def test_an_invalid_form_stays_in_its_frame(site: BoardSite, page: Page) -> None:
    await site.visit(page, "ann")
    await mark(page)
    await page.click("text=Rename")
    await page.fill("#id_name", " ")  # Django strips it, the browser does not

    async with page.expect_response("**/rename/**") as response:
        await page.click("text=Save")

    assert (await response.value).status == 422
    errors = page.locator("#name_board_1 .errorlist")
    await expect(errors).to_have_text("This field is required.")
    assert await is_marked(page)
    assert await site.name() == "Plan"


# --- Forms


async def test_create_with_javascript(site: BoardSite, new_page: NewPage) -> None:
    page, other = await new_page(), await new_page()
    await site.visit(page, "ann")
    await site.visit(other, "bob")
    await mark(page)

    await page.fill("[name=title]", "Rake & hoe")
    async with page.expect_response("**/cards/**") as response:
        await page.click("text=Add")

    assert (
        (await response.value)
        .headers["content-type"]
        .startswith("text/vnd.turbo-stream.html")
    )
    for window in (page, other):
        await expect(window.locator("#cards li")).to_have_text(["Rake & hoe"])
    await expect(page.locator("[name=title]")).to_have_value("")
    assert await is_marked(page)
    assert await site.times_shown("ann") == 1


async def test_create_without_javascript(site: BoardSite, new_page: NewPage) -> None:
    page, other = await new_page(java_script_enabled=False), await new_page()
    await site.visit(other, "bob")
    await page.goto(f"{site.url}/boards/1/?as=ann")

    await page.fill("[name=title]", "Rake")
    await page.click("text=Add")

    assert page.url == f"{site.url}/boards/1/?as=ann"
    for window in (page, other):
        await expect(window.locator("#cards li")).to_have_text(["Rake"])


async def test_an_invalid_form_without_javascript(
    site: BoardSite, new_page: NewPage
) -> None:
    page = await new_page(java_script_enabled=False)
    await page.goto(f"{site.url}/boards/1/?as=ann")

    await page.fill("[name=title]", " ")
    async with page.expect_response("**/cards/**") as response:
        await page.click("text=Add")

    assert (await response.value).status == 422
    await expect(page.locator(".errorlist")).to_have_text("This field is required.")


# --- Refreshes


async def test_a_refresh_keeps_what_is_being_typed(site: BoardSite, page: Page) -> None:
    await site.visit(page, "ann")
    await mark(page)
    await page.focus("#draft")
    await page.keyboard.type("half a th")

    await site.get("/boards/1/touch/", times=1, by="bob")
    await expect(page.locator("h1")).to_have_text("bob 1")
    await page.keyboard.type("ought")

    assert await page.input_value("#draft") == "half a thought"
    assert await is_marked(page)


@pytest.mark.parametrize("typed", ["", "Plan C"])
async def test_a_refresh_keeps_the_frame_that_is_being_edited(
    site: BoardSite, page: Page, typed: str
) -> None:
    await site.visit(page, "ann")
    await page.click("text=Rename")
    await page.focus("#id_name")
    await page.keyboard.type(typed)
    value = await page.input_value("#id_name")

    await site.get("/boards/1/touch/", times=1, by="bob")
    await expect(page).to_have_title("bob 1")

    await expect(page.locator("#id_name")).to_have_value(value)
    await page.click("text=Save")
    await expect(page.locator("h1")).to_have_text(value)


async def test_a_form_sent_here_leaves_what_is_typed_elsewhere(
    site: BoardSite, new_page: NewPage
) -> None:
    typing, sending = await new_page(), await new_page()
    await site.visit(typing, "ann")
    await site.visit(sending, "bob")
    await mark(typing)
    await typing.focus("#draft")
    await typing.keyboard.type("half a th")

    await sending.click("text=Rename")
    await sending.fill("#id_name", "Plan B")
    await sending.click("text=Save")
    await expect(typing.locator("h1")).to_have_text("Plan B")
    await typing.keyboard.type("ought")

    assert await typing.input_value("#draft") == "half a thought"
    assert await typing.evaluate("document.activeElement.id") == "draft"
    assert await is_marked(typing)


async def test_the_page_that_caused_a_refresh_is_not_refreshed_again(
    site: BoardSite, new_page: NewPage
) -> None:
    page, other = await new_page(), await new_page()
    await turn_clock(page)
    await site.visit(page, "ann")
    await site.visit(other, "bob")

    await page.click("text=Rename")
    await page.fill("#id_name", "Plan B")
    await page.click("text=Save")

    for window in (page, other):
        await expect(window.locator("h1")).to_have_text("Plan B")
    await site.get("/boards/1/notify/", text="now", level="info")
    await expect(page).to_have_title("info: now")
    await settled(page)
    # Once at first, and once more: for the frame here, by the refresh there.
    assert await site.times_shown("ann") == 2
    assert await site.times_shown("bob") == 2


@pytest.mark.parametrize(
    "turbo_settings", [{"REFRESH_INTERVAL": 600, "REFRESH_MAX_WAIT": 600}]
)
async def test_100_changes_within_the_interval_are_3_refreshes_at_most(
    site: BoardSite, page: Page
) -> None:
    """The first, and what each of two processes has left at its end."""
    told: list[tuple[str, str]] = []
    page.on("websocket", lambda socket: socket.on("framereceived", note))

    def note(frame: Any) -> None:
        if 'action=\\"refresh' in str(frame):
            told.extend(
                re.findall(r'"stream":"(\w+)","position":"([\w:]+)"', str(frame))
            )

    await turn_clock(page)
    await site.visit(page, "ann")
    script = "from tests.project.boards import change; change(1, 'script', 50)"
    running = asyncio.ensure_future(asyncio.to_thread(site.project.shell, script))
    await site.get("/boards/1/touch/", times=50, by="view")
    await running
    await site.get("/boards/flush/")

    await expect(page.locator("h1")).to_have_text(await site.name())
    await settled(page)
    await expect(page.locator("h1")).to_have_text(await site.name())
    # A page that is loaded while one arrives gets it again: its view may not have it.
    refreshes = Counter(stream for stream, _ in set(told))
    assert len(refreshes) == 2, "the board's stream, and that of all boards"
    assert max(refreshes.values()) <= 3
    assert 1 <= await site.times_shown("ann") - 1 <= len(told)


async def test_a_script_that_ends_at_once_refreshes_the_page(
    site: BoardSite, page: Page
) -> None:
    await site.visit(page, "ann")
    code = (
        "from tests.testapp.models import Board\n"
        "board = Board.objects.get(pk=1)\n"
        "for board.name in ('one', 'two', 'three'):\n"
        "    board.save()\n"
    )

    await asyncio.to_thread(site.project.shell, code)

    await expect(page.locator("h1")).to_have_text("three")


async def test_a_refresh_while_the_page_refreshes_is_not_lost(
    site: BoardSite, page: Page
) -> None:
    await site.visit(page, "ann", wait=1)

    await site.get("/boards/1/touch/", times=1, by="first")
    await site.until_shown("ann", 2)  # it has read, and not yet answered
    await site.get("/boards/1/touch/", times=1, by="second")

    await expect(page.locator("h1")).to_have_text("second 1")


# --- Actions of one's own


async def test_an_action_of_ones_own_is_one_line_of_javascript(
    site: BoardSite, page: Page
) -> None:
    await site.visit(page, "ann")

    await site.get("/boards/1/notify/", text="<b> & co", level='"hi" <i>')

    await expect(page).to_have_title('"hi" <i>: <b> & co')


async def test_an_action_that_the_page_does_not_know_is_told_on_its_console(
    site: BoardSite, page: Page
) -> None:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    await site.visit(page, "ann")
    code = (
        "from tests.testapp.models import Board\n"
        "from turbo.shortcuts import render_frame_string\n"
        "stream = Board.objects.get(pk=1).stream\n"
        "frame = render_frame_string('<i>')\n"
        "stream.stream(frame.action('unheard_of').update(id='cards'))\n"
        "stream.append(text='!', id='cards')\n"
    )

    await asyncio.to_thread(site.project.shell, code)

    await expect(page.locator("#cards")).to_have_text("<i>!")
    assert any("unknown action" in text for text in told), told
