"""Who is there and who is typing, in real pages of two users on two processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support.documents import ROOT, blocks

pytestmark = pytest.mark.browser

NewPage = Callable[[], Awaitable[Page]]
QUICK = {"PRESENCE_GRACE": 1.0, "PRESENCE_EXPIRY": 6.0}

#: Keep what is heard, and pass on what is said.
LISTEN = """() => {
  window.heard = [];
  document.addEventListener("turbo-stream:whisper", (event) =>
    window.heard.push([event.target.localName, event.detail]));
}"""
WHISPER = """() =>
  document.querySelector("[stream-id]").whisper("typing", { draft: "<b>" })"""

#: What the guide on typing asks of a page.
COMPOSER = """(name) => {
  const me = [...document.querySelectorAll("#people li")]
    .find((item) => item.textContent === name).id;
  document.body.insertAdjacentHTML("beforeend", `
    <form class="message"><textarea></textarea></form>
    <p id="typing" role="status" data-me="${me}"></p>`);
}"""


@pytest.fixture
def project(make_project: Callable[..., Any]) -> Any:
    return make_project("redis", TURBO=QUICK)


@pytest.fixture
def servers(project: Any, daphne: Callable[..., Any]) -> tuple[Any, Any]:
    return daphne(project), daphne(project)


async def open_lounge(
    page: Page, server: Any, user: str, *, transport: str = "websocket"
) -> None:
    await page.goto(f"{server.url}/login/{user}/?next=/lounge/{transport}/")
    await page.wait_for_function("() => window.Turbo?.StreamActions.whisper")
    if transport == "websocket":
        await page.wait_for_function(
            "() => document.querySelectorAll('[connected]').length === 2"
        )


async def test_the_list_of_people_is_right_for_two_users(
    servers: tuple[Any, Any], new_page: NewPage
) -> None:
    """One joins, leaves, and joins at a process that is killed."""
    one, two = servers
    ann, bob = await new_page(), await new_page()
    people, others = ann.locator("#people li"), bob.locator("#people li")

    await open_lounge(ann, one, "ann")
    await expect(people).to_have_text(["ann"])
    await open_lounge(bob, two, "bob")
    await expect(people).to_have_text(["ann", "bob"])
    await expect(others).to_have_text(["ann", "bob"])

    await bob.close()
    await expect(people).to_have_text(["ann"])

    again = await new_page()
    await open_lounge(again, two, "bob")
    await expect(people).to_have_text(["ann", "bob"])
    two.kill()
    await expect(people).to_have_text(["ann"])


async def test_a_reload_changes_nothing_for_the_others(
    project: Any, daphne: Callable[..., Any], new_page: NewPage
) -> None:
    """Within the grace, which is long here, as the machine may be busy."""
    project.settings["TURBO"] = QUICK | {"PRESENCE_GRACE": 3_600.0}
    server = daphne(project)
    ann, bob = await new_page(), await new_page()
    await open_lounge(ann, server, "ann")
    await open_lounge(bob, server, "bob")
    await expect(ann.locator("#people li")).to_have_text(["ann", "bob"])

    await ann.evaluate(
        """() => {
          window.changes = 0;
          new MutationObserver(() => (window.changes += 1)).observe(
            document.querySelector("#people"), { childList: true });
        }"""
    )
    await bob.reload()
    await expect(bob.locator("#people li")).to_have_text(["ann", "bob"])

    assert await ann.evaluate("window.changes") == 0


async def test_pages_hear_who_is_typing(
    servers: tuple[Any, Any], new_page: NewPage
) -> None:
    """A whisper goes to all pages but the one that whispers."""
    one, two = servers
    ann, bob, eve = [await new_page() for _ in range(3)]
    warnings: list[str] = []
    eve.on("console", lambda message: warnings.append(message.text))
    await open_lounge(ann, one, "ann")
    await open_lounge(bob, two, "bob")
    await open_lounge(eve, two, "bob", transport="sse")
    for page in (ann, bob, eve):
        await page.evaluate(LISTEN)

    assert await ann.evaluate(WHISPER) is True
    for page in (bob, eve):
        await page.wait_for_function("() => window.heard.length === 1")
    assert await bob.evaluate(WHISPER) is True
    await ann.wait_for_function("() => window.heard.length === 1")

    key = await ann.evaluate(
        """() => [...document.querySelectorAll("#people li")]
          .find((item) => item.textContent === "ann").id.slice(5)"""
    )
    detail = {"name": "typing", "data": {"draft": "<b>"}, "user": key}
    assert await bob.evaluate("window.heard") == [
        ["turbo-channels-stream-source", detail]
    ]
    assert (await eve.evaluate("window.heard"))[0] == ["turbo-stream-source", detail]
    assert [await eve.evaluate(WHISPER) for _ in range(2)] == [False, False]
    assert [text for text in warnings if "cannot whisper" in text] == [
        "turbo-stream-source: an event stream cannot whisper"
    ]


async def test_the_script_of_the_guide_shows_who_is_typing(
    servers: tuple[Any, Any], new_page: NewPage
) -> None:
    [block] = blocks(ROOT / "docs" / "howto" / "typing.rst", "javascript")
    ann, bob, other_tab = [await new_page() for _ in range(3)]
    await open_lounge(ann, servers[0], "ann")
    for page in (bob, other_tab):
        await open_lounge(page, servers[1], "bob")
    for page, me in ((ann, "ann"), (bob, "bob"), (other_tab, "bob")):
        await expect(page.locator("#people li")).to_have_text(["ann", "bob"])
        await page.evaluate(COMPOSER, me)
        await page.add_script_tag(content=block.code, type="module")
        await page.evaluate(LISTEN)

    await bob.get_by_role("textbox").press_sequentially("Hello")

    await expect(ann.locator("#typing")).to_have_text("bob is typing…")
    await other_tab.wait_for_function("() => window.heard.length === 1")
    await expect(other_tab.locator("#typing")).to_be_empty()


async def test_a_page_that_is_not_connected_says_that_it_whispered_nothing(
    servers: tuple[Any, Any], page: Page
) -> None:
    await open_lounge(page, servers[0], "ann")
    servers[0].kill()
    await page.wait_for_function("() => !document.querySelector('[connected]')")

    assert await page.evaluate(WHISPER) is False


async def test_other_pages_load_nothing_for_it(
    servers: tuple[Any, Any], page: Page
) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))

    await page.goto(f"{servers[0].url}/login/ann/?next=/rooms/1/")
    await page.wait_for_selector("[connected]", state="attached")

    assert "stream-id" not in await page.content()
    assert [url for url in loaded if "whispers" in url] == []
