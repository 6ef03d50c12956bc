"""The sample chat by keyboard, by screen reader, in dark colours and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.sample_chat.conftest import SampleChat, serve
from tests.sample_chat.test_live import live, status
from tests.support.full import IS_FULL, for_full_runs
from tests.support.node import node_modules

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = "axe-core@4.11.0"
SERIOUS = {"serious", "critical"}
PHONE = {"width": 360, "height": 740}
TABLET = {"width": 768, "height": 1024}
DESKTOP = {"width": 1280, "height": 800}

#: Every page, and what is there when all of it is.
PAGES = {
    "/": ".welcome",
    "/rooms/1/": ".message",
    "/rooms/3/": ".message",
    "/rooms/4/": ".message .text",
    "/rooms/4/before/100/": ".message .text",
    "/rooms/new/": "form.stack",
    "/rooms/1/members/": "turbo-frame",
    "/rooms/1/import/": "form.stack",
    "/rooms/1/import/import-1/": "progress",
    "/messages/1/edit/": "turbo-frame textarea",
    "/messages/1/delete/": "blockquote",
    "/announcements/": "form.stack",
    "/board/": ".card",
    "/board/cards/1/": ".card form",
    "/pocket/": "pocket-chat li",
    "/scores/": "score-board li",
    "/__turbo__/": "article",
}

SCHEMES = ("light", "dark")

widths = pytest.mark.parametrize(
    "size",
    [PHONE, *(pytest.param(size, marks=for_full_runs) for size in (TABLET, DESKTOP))],
    ids=["phone", "tablet", "desktop"],
)


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which is put into the pages."""
    return Path(node_modules(AXE), "axe-core", "axe.min.js").read_text()


@pytest.fixture(scope="module")
def chat(_demo: Path, tmp_path_factory: Any) -> Iterator[SampleChat]:
    """A sample chat of these tests alone, for they drink tea that others count."""
    directory = tmp_path_factory.mktemp("accessible")
    yield from serve(shutil.copytree(_demo, directory, dirs_exist_ok=True))


@pytest.fixture
def closed_chat(demo: Path) -> Iterator[SampleChat]:
    """The sample chat without ``DEBUG``: with its own page for what is not there."""
    server = SampleChat(demo, DEBUG="0")
    server.command.append("--insecure")
    server.start()
    yield server
    server.stop()


async def found(page: Page, axe: str) -> list[str]:
    """Return what is seriously wrong; light and dark are both tried in full runs."""
    await page.evaluate(axe)
    wrong = []
    for scheme in SCHEMES if IS_FULL else SCHEMES[:1]:
        await page.emulate_media(color_scheme=scheme)
        result: dict[str, Any] = await page.evaluate("axe.run()")
        wrong += [
            f"{page.url} {scheme}: {violation['id']}: "
            f"{node['html'][:120]} {node['failureSummary']}"
            for violation in result["violations"]
            if violation["impact"] in SERIOUS
            for node in violation["nodes"]
        ]
    return wrong


async def layout(page: Page) -> list[str]:
    """Say so if the page must be scrolled sideways, or has not exactly one h1."""
    script = "document.documentElement.scrollWidth - innerWidth"
    wrong = [f"{page.url}: too wide"] if await page.evaluate(script) > 0 else []
    headings = await page.get_by_role("heading", level=1).count()
    return wrong if headings == 1 else [*wrong, f"{page.url}: {headings} times h1"]


# --- What axe finds


@widths
async def test_nothing_serious_on_any_page(chat, log_in, axe, size):
    page = await log_in(chat, "ada", viewport=size, bypass_csp=True)
    await page.goto("/scores/")
    await page.get_by_role("button", name="I had a cup").click()
    await expect(page.locator("score-board li").first).to_be_visible()  # it was saved
    wrong = []

    for path, content in PAGES.items():
        await page.goto(path)
        await expect(page.locator(content).first).to_be_visible()
        wrong += await found(page, axe) + await layout(page)

    assert wrong == []


@widths
async def test_nothing_serious_before_the_log_in(chat, new_page, axe, size):
    page = await new_page(base_url=chat.url, viewport=size, bypass_csp=True)

    await page.goto("/login/")
    wrong = await found(page, axe) + await layout(page)
    await page.get_by_label("Username").fill("ada")
    await page.get_by_label("Password").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator(".errorlist")).to_be_visible()

    assert wrong + await found(page, axe) == []


async def test_nothing_serious_where_somebody_is_refused(chat, log_in, axe):
    page = await log_in(chat, "grace", bypass_csp=True)

    await page.goto("/announcements/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    wrong = await found(page, axe)
    await live(page, "/rooms/3/")
    await expect(page.get_by_role("alert")).to_contain_text("not a member")

    assert wrong + await found(page, axe) == []


async def test_nothing_serious_where_nothing_is(closed_chat, log_in, axe):
    page = await log_in(closed_chat, "ada", bypass_csp=True)

    await page.goto("/nowhere/")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    assert await found(page, axe) == []


async def test_nothing_serious_in_what_staff_see_of_the_processes(
    closed_chat, log_in, axe
):
    page = await log_in(closed_chat, "ada", bypass_csp=True)

    await page.goto("/__turbo__/")

    await expect(page.get_by_role("heading", name="Top streams")).to_be_visible()
    assert await found(page, axe) == []


# --- What the keyboard reaches

#: The element in focus: whether one sees where it is, and that it is.
FOCUSED = """() => {
  const element = document.activeElement
  const { outlineStyle, outlineWidth } = getComputedStyle(element)
  const { width, top, bottom } = element.getBoundingClientRect()
  const isOnScreen = width > 0 && bottom > 0 && top < innerHeight
  return element === document.body || (
    isOnScreen && outlineStyle !== "none" && parseFloat(outlineWidth) >= 1)
}"""


async def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the element has the focus; each stop on the way is seen."""
    await expect(wanted).to_be_visible()
    for _ in range(120):
        await page.keyboard.press("Tab")
        where = await page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        assert await page.evaluate(FOCUSED), f"cannot be seen in focus: {where}"
        if await wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {wanted}")


async def press(page: Page, wanted: Locator, key: str = "Enter") -> None:
    await tab_to(page, wanted)
    await page.keyboard.press(key)


async def type_into(page: Page, wanted: Locator, text: str) -> None:
    await tab_to(page, wanted)
    await page.keyboard.press("ControlOrMeta+a")
    await page.keyboard.type(text)
    await expect(wanted).to_have_value(text)


def link(scope: Page | Locator, name: str) -> Locator:
    return scope.get_by_role("link", name=name).first


def button(scope: Page | Locator, name: str) -> Locator:
    return scope.get_by_role("button", name=name).first


@pytest.fixture
def by_keyboard(new_page):
    """Open a page and log in without a mouse."""

    async def log_in(chat: SampleChat, **options: Any) -> Page:
        page: Page = await new_page(base_url=chat.url, **options)
        await page.goto("/login/")
        await type_into(page, page.get_by_label("Username"), "ada")
        await type_into(page, page.get_by_label("Password"), "ada")
        await page.keyboard.press("Enter")
        await page.wait_for_url("/")
        return page

    return log_in


async def test_a_room_by_keyboard(chat, by_keyboard):
    page = await by_keyboard(chat)

    await press(page, link(page, "New room"))
    await expect(page.get_by_role("heading", name="A new room")).to_be_visible()
    await type_into(page, page.get_by_label("Name"), "By keyboard")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("By keyboard")

    await type_into(page, page.get_by_role("textbox", name="Message"), "No mouse here")
    await page.keyboard.press("Enter")
    message = page.locator(".message")
    await expect(message).to_contain_text("No mouse here")
    await press(page, link(message, "Edit"))
    field = page.locator("turbo-frame textarea")
    await expect(field).to_be_focused()
    await page.keyboard.press("ControlOrMeta+a")
    await page.keyboard.type("None at all")
    await press(page, button(page, "Save"))
    await expect(message).to_contain_text("None at all")

    await press(page, link(message, "Delete"))
    await expect(link(page, "Keep it")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(button(page, "Delete")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(message).to_have_count(0)


async def test_the_board_by_keyboard(chat, by_keyboard):
    page = await by_keyboard(chat)
    card = page.locator(".card", has_text="Learn to type")

    await press(page, link(page, "Board"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Team board")
    await type_into(page, page.get_by_label("Title"), "Learn to type")
    await page.keyboard.press("Enter")
    await expect(page.locator("#column-todo")).to_contain_text("Learn to type")
    await press(page, button(card, "Move Learn to type to Done"))
    await expect(page.locator("#column-done")).to_contain_text("Learn to type")
    await press(page, link(card, "Edit"))
    await press(page, button(page, "Delete"))
    await expect(card).to_have_count(0)


async def test_the_other_pages_by_keyboard(chat, by_keyboard):
    page = await by_keyboard(chat)

    await press(page, link(page, "Announce"))
    await type_into(page, page.get_by_label("Announcement"), "Mice are resting")
    await press(page, button(page, "Announce"))
    await expect(page.locator(".announcement")).to_contain_text("Mice are resting")

    await press(page, link(page, "JSON chat"))
    select = page.get_by_role("combobox", name="Room")
    await expect(select.locator("option").first).to_be_attached()
    await tab_to(page, select)
    await page.keyboard.type("Kitchen")
    await expect(page.get_by_role("log")).to_contain_text("blue mug")
    await type_into(page, page.get_by_role("textbox", name="Message"), "It is clean")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("log")).to_contain_text("It is clean")

    await press(page, link(page, "Scoreboard"))
    await press(page, button(page, "I had a cup"))
    await expect(page.get_by_role("list", name="Scores")).to_contain_text("Ada")

    await press(page, link(page, "Inspector"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Turbo inspector")
    await page.go_back()
    await press(page, button(page, "Log out"))
    await page.wait_for_url("/login/")


async def test_on_a_phone_everything_is_reached_too(chat, by_keyboard):
    page = await by_keyboard(chat, viewport=PHONE)

    await press(page, link(page, "Lobby"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Lobby")
    await tab_to(page, page.get_by_role("textbox", name="Message"))
    await page.reload()
    await press(page, link(page.locator("main"), "Rooms"))
    for name in ("Board", "JSON chat", "Scoreboard", "Announce"):
        await press(page, link(page, name))
        current = page.get_by_role("navigation").locator("[aria-current]")
        await expect(current).to_have_text(name)


async def test_the_first_stop_skips_to_the_content(chat, by_keyboard):
    page = await by_keyboard(chat)
    await page.goto("/board/")

    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("Tab")

    await expect(page.get_by_label("Title")).to_be_focused()


# --- What stays in its place


async def test_the_header_does_not_move_while_the_page_connects(chat, log_in):
    page = await log_in(chat, "ada", viewport=PHONE)
    heights = set()

    await expect(status(page)).to_have_text("Live")
    for text in ("Live", "Connecting…", "Connection lost, trying again"):
        await page.locator("turbo-channels-status").evaluate(
            "(badge, text) => badge.setAttribute('connected', text)", text
        )
        await expect(status(page)).to_have_text(text)
        box = await page.locator("header").bounding_box()
        heights.add(box["height"])

    assert len(heights) == 1


@pytest.mark.parametrize("width", [360, 768, 800, 1024, 1280])
async def test_all_of_the_navigation_is_seen(chat, log_in, width):
    page = await log_in(chat, "ada", viewport={"width": width, "height": 700})

    for place in await page.get_by_role("navigation").get_by_role("link").all():
        await expect(place).to_be_in_viewport(ratio=1)
        covered = await place.evaluate(
            """(link) => {
                const { x, y, width, height } = link.getBoundingClientRect()
                const points = [x + 9, x + width - 9]
                return points.some((at) =>
                    !link.contains(document.elementFromPoint(at, y + height / 2)))
            }"""
        )
        assert not covered


async def test_the_board_has_three_columns_on_a_tablet(chat, log_in):
    page = await log_in(chat, "ada", viewport=TABLET)
    await page.goto("/board/")

    boxes = [await one.bounding_box() for one in await page.locator(".board > *").all()]

    assert len({box["y"] for box in boxes}) == 1
