"""The recipes of ``docs/howto/accessibility.rst``, run as they are printed there."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.scripted import Site, append
from tests.browser.watching import connected
from tests.support.documents import DOCS, blocks

pytestmark = pytest.mark.browser

PAGE = DOCS / "howto" / "accessibility.rst"
CODE = {
    block.caption.rpartition("/")[2]: block.code
    for block in blocks(PAGE, "javascript", "css")
}
STYLE = f"<style>{CODE['chat.css']}</style>"
REMOVE = '<turbo-stream action="remove" target="{}"></turbo-stream>'
REPLACE = (
    '<turbo-stream action="replace" target="{}"><template>{}</template></turbo-stream>'
)


async def show(site: Site, page: Page, body: str, *modules: str) -> None:
    """Open a page with the style sheet and some modules of the recipes."""
    for name in modules:
        await page.add_init_script(f"(() => {{{CODE[name]}}})()")
    site.show("/", "chat", head=STYLE, body=body)
    await page.goto(site.url())
    await connected(page)


async def accessible(page: Page) -> list[dict[str, Any]]:
    """Return what a screen reader is told of the page: role, name and how it speaks."""
    session = await page.context.new_cdp_session(page)
    tree = await session.send("Accessibility.getFullAXTree")
    return [
        {
            "role": node["role"]["value"],
            "name": node.get("name", {}).get("value", ""),
            **{p["name"]: p["value"].get("value") for p in node.get("properties", [])},
        }
        for node in tree["nodes"]
        if not node["ignored"]
    ]


# --- Announce what arrives


@pytest.mark.parametrize(
    ("role", "live"), [("log", "polite"), ("status", "polite"), ("alert", "assertive")]
)
async def test_what_arrives_is_said(
    site: Site, page: Page, role: str, live: str
) -> None:
    """It stands in a region that was there before, and that speaks as its role says."""
    await show(site, page, f'<div id="region" role="{role}"></div>')
    region = await page.query_selector("#region")

    await site.publish("chat", append("region", "Hello"))
    await expect(page.get_by_role(role)).to_have_text("Hello")  # type: ignore[arg-type]

    nodes = await accessible(page)
    [node] = [node for node in nodes if node["role"] == role]
    assert node["live"] == live
    assert {"role": "StaticText", "name": "Hello"}.items() <= next(
        node for node in nodes if node["name"] == "Hello"
    ).items()
    assert await page.evaluate("(one) => one.isConnected", region)


# --- Keep the focus

CARDS = (
    '<main><div id="one"><button id="a">1</button></div>'
    '<div id="two"><button>2</button></div>'
    '<div id="three"><button>3</button></div></main><input>'
)


async def focus(page: Page, selector: str) -> None:
    await page.locator(selector).focus()


async def has_focus(page: Page, selector: str) -> None:
    await expect(page.locator(selector)).to_be_focused()


async def test_focus_after_replace_with_an_id_needs_no_script(
    site: Site, page: Page
) -> None:
    await show(site, page, CARDS)
    await focus(page, "#a")

    html = '<div id="one"><button id="a">one</button></div>'
    await site.publish("chat", REPLACE.format("one", html))

    await has_focus(page, "#a:text('one')")


async def test_focus_after_replace_without_an_id_goes_to_the_target(
    site: Site, page: Page
) -> None:
    await show(site, page, CARDS, "focus.js")
    await focus(page, "#two button")

    html = '<div id="two"><button>two</button></div>'
    await site.publish("chat", REPLACE.format("two", html))

    await has_focus(page, "#two:has-text('two')")


async def test_focus_after_remove_goes_to_a_neighbour(site: Site, page: Page) -> None:
    await show(site, page, CARDS, "departures.js", "focus.js")
    await focus(page, "#two button")

    await site.publish("chat", REMOVE.format("two"))
    await has_focus(page, "#three")
    await site.publish("chat", REMOVE.format("three"))
    await has_focus(page, "#one")
    await site.publish("chat", REMOVE.format("one"))

    await has_focus(page, "main")


async def test_focus_elsewhere_is_not_moved(site: Site, page: Page) -> None:
    await show(site, page, CARDS, "departures.js", "focus.js")
    await focus(page, "input")

    await site.publish("chat", REMOVE.format("two"))

    await expect(page.locator("#two, .leaving")).to_have_count(0)
    await has_focus(page, "input")


# --- Fade in and out

PAUSE = """addEventListener("animationstart", ({ target }) => {
  for (const animation of target.getAnimations()) animation.pause()
})"""
FINISH = "document.getAnimations().forEach((animation) => animation.finish())"
ITEM = '<p id="item">{}</p>'


async def test_what_leaves_waits_for_its_animation(site: Site, page: Page) -> None:
    await page.add_init_script(PAUSE)
    await show(site, page, ITEM.format("old"), "departures.js")

    await site.publish("chat", REMOVE.format("item"))
    leaving = page.locator(".leaving")
    await expect(leaving).to_have_text("old")
    assert all(node["name"] != "old" for node in await accessible(page))
    await page.evaluate(FINISH)

    await expect(leaving).to_have_count(0)


async def test_messages_about_it_wait_and_keep_their_order(
    site: Site, page: Page
) -> None:
    """The new item is not taken away when the animation of the old one ends."""
    await page.add_init_script(PAUSE)
    body = f'<div id="list">{ITEM.format("old")}</div>'
    await show(site, page, body, "departures.js")

    again = append("list", "").replace("<li></li>", ITEM.format("new"))
    await site.publish("chat", REMOVE.format("item"), again)
    await expect(page.locator(".leaving")).to_have_text("old")
    await page.evaluate(FINISH)

    await expect(page.locator("#list p")).to_have_text(["new"])


async def test_what_arrives_fades_in(site: Site, page: Page) -> None:
    await page.add_init_script(PAUSE)
    await show(site, page, '<div id="list"></div>', "arrivals.js")

    item = append("list", "").replace("<li></li>", ITEM.format("new"))
    await site.publish("chat", item)

    await expect(page.locator("#item.arrived")).to_have_text("new")
    assert await page.evaluate("document.getAnimations().length") == 1


async def test_nothing_moves_for_those_who_asked_for_that(
    site: Site, page: Page
) -> None:
    await page.emulate_media(reduced_motion="reduce")
    await page.add_init_script(PAUSE)
    body = f'<div id="list">{ITEM.format("old")}</div>'
    await show(site, page, body, "arrivals.js", "departures.js")

    again = append("list", "").replace("<li></li>", ITEM.format("new"))
    await site.publish("chat", REMOVE.format("item"), again)

    await expect(page.locator("#list p")).to_have_text(["new"])
    assert await page.evaluate("document.getAnimations().length") == 0
