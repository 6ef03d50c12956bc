"""The badge that says whether the page is live: <turbo-channels-status>."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.template.loader import render_to_string
from playwright.async_api import Page

from tests.browser.scripted import Site, Socket
from tests.browser.watching import connected, let_pass, turn_clock
from tests.support.servers import PATIENCE

pytestmark = pytest.mark.browser

LOST = "Connection lost, trying again"


def badge() -> str:
    """Return what ``turbo/status.html`` renders, as this site serves its module."""
    html = render_to_string("turbo/status.html")
    return html.replace("/static/turbo/status.min.js", "/static/status.js")


async def says(page: Page, text: str) -> None:
    """Wait until the badge shows this text, or nothing."""
    await page.wait_for_function(
        """(text) => {
            const root = document.querySelector("turbo-channels-status")?.shadowRoot
            return root?.querySelector("[part~=badge]").innerText === text
        }""",
        arg=text,
        timeout=1_000 * PATIENCE,
    )


async def is_in_state(page: Page, state: str) -> None:
    await page.wait_for_function(
        "(state) => TurboChannels.state === state",
        arg=state,
        timeout=1_000 * PATIENCE,
    )


async def record_texts(page: Page) -> None:
    """Note what the badge shows, and what is read out, from now on."""
    await page.evaluate(
        """() => {
            window.shown = []
            window.announced = []
            const root = document.querySelector("turbo-channels-status").shadowRoot
            const note = (part, list) => {
              const element = root.querySelector(`[part=${part}]`)
              const options = { childList: true, characterData: true, subtree: true }
              new MutationObserver(() => {
                const text = element.textContent
                if (text && text !== list.at(-1)) list.push(text)
              }).observe(element, options)
            }
            note("text", window.shown)
            note("announcement", window.announced)
        }"""
    )


def hold_answers(site: Site) -> Callable[[], None]:
    """Answer no subscription before the result is called."""

    async def hold(socket: Socket, name: str, since: str) -> bool:
        return True

    def release() -> None:
        site.answer = None

    site.answer = hold
    return release


async def test_badge_says_that_the_page_is_live(site: Site, page: Page) -> None:
    site.show("/", "chat", body=badge())

    await page.goto(site.url())

    await says(page, "Live")
    assert await page.get_by_role("status").inner_text() == ""


async def test_badge_without_streams_says_nothing(site: Site, page: Page) -> None:
    site.show("/", body=badge())
    await page.goto(site.url())

    await says(page, "")

    assert not await page.locator("turbo-channels-status [part~=badge]").is_visible()


async def test_connection_that_stays_lost_is_shown_and_read_out(
    site: Site, page: Page
) -> None:
    await turn_clock(page)
    site.show("/", "chat", body=badge())
    await page.goto(site.url())
    await says(page, "Live")
    await record_texts(page)
    release = hold_answers(site)

    (await site.socket()).cut()
    await is_in_state(page, "disconnected")
    assert await page.evaluate("window.shown") == []
    await let_pass(page, 2)
    await says(page, LOST)
    assert await page.get_by_role("status").inner_text() == LOST
    release()
    await page.evaluate("TurboChannels.reconnect()")
    await says(page, "Live")

    assert await page.evaluate("window.announced") == [LOST, "Live"]
    assert await page.get_by_role("status").inner_text() == "Live"


async def test_short_loss_is_neither_shown_nor_read_out(site: Site, page: Page) -> None:
    await turn_clock(page)
    site.show("/", "chat", body=badge())
    await page.goto(site.url())
    await says(page, "Live")
    await record_texts(page)

    (await site.socket()).cut()
    await is_in_state(page, "disconnected")
    await let_pass(page, 1)
    await site.subscription("chat", 2)
    await is_in_state(page, "connected")
    await let_pass(page, 10)

    assert await page.evaluate("[shown, announced]") == [["Live"], []]


async def test_visit_reads_nothing_out(site: Site, page: Page) -> None:
    site.show("/", "chat", body=badge())
    site.show("/other", "room", body=badge())
    await page.goto(site.url())
    await says(page, "Live")

    await page.evaluate("Turbo.visit('/other')")
    await site.subscription("room")
    await says(page, "Live")

    assert await page.get_by_role("status").inner_text() == ""


async def test_restored_badge_says_the_state_of_today(site: Site, page: Page) -> None:
    site.show("/", "chat", body=badge())
    site.show("/plain", body=badge())
    await page.goto(site.url())
    await says(page, "Live")

    await page.evaluate("Turbo.visit('/plain')")
    await is_in_state(page, "idle")
    await says(page, "")
    await page.go_back()
    await site.subscription("chat", 2)

    await says(page, "Live")


async def test_morph_keeps_the_badge_and_changes_its_texts(
    site: Site, page: Page
) -> None:
    head = '<meta name="turbo-refresh-method" content="morph">'
    site.show("/", "chat", head=head, body=badge())
    await page.goto(site.url())
    await says(page, "Live")
    await page.evaluate(
        "document.querySelector('turbo-channels-status').isMarked = true"
    )
    site.show("/", "chat", head=head, body=badge().replace("Live", "Aktuell"))

    await page.evaluate("Turbo.session.refresh(document.baseURI)")
    await says(page, "Aktuell")

    assert await page.evaluate(
        "document.querySelector('turbo-channels-status').isMarked"
    )


async def test_badge_may_come_before_the_client(site: Site, page: Page) -> None:
    scripts = ("status.js", "turbo.js", "turbo-channels.js")
    site.views["/"] = lambda: site.html("chat", body=badge(), scripts=scripts)

    await page.goto(site.url())

    await says(page, "Live")


async def test_badge_may_be_put_in_late(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    await page.evaluate(
        """async () => {
            await import("/static/status.js")
            const badge = document.createElement("turbo-channels-status")
            document.body.append(badge)
            badge.setAttribute("connected", "Live")
        }"""
    )

    await says(page, "Live")


async def test_strictest_policy_is_not_violated(site: Site, page: Page) -> None:
    await page.add_init_script(
        """
        window.violations = []
        addEventListener("securitypolicyviolation", ({ violatedDirective }) => {
          window.violations.push(violatedDirective)
        })
        """
    )
    site.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; connect-src 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    scripts = ("turbo-channels.js",)  # Turbo brings a style of its own
    site.views["/"] = lambda: site.html("chat", body=badge(), scripts=scripts)
    await page.goto(site.url())

    await says(page, "Live")
    display = await page.locator("turbo-channels-status [part~=badge]").evaluate(
        "(badge) => getComputedStyle(badge).display"
    )

    assert (display, await page.evaluate("window.violations")) == ("inline-flex", [])


async def test_page_styles_the_parts_of_each_state(site: Site, page: Page) -> None:
    site.show(
        "/",
        "chat",
        head="""<style>
            turbo-channels-status::part(badge connected) { color: rgb(0, 128, 0) }
            turbo-channels-status::part(dot connected) { width: 40px }
            turbo-channels-status::part(text) { font-weight: 900 }
        </style>""",
        body=badge(),
    )
    await page.goto(site.url())
    await says(page, "Live")

    styles = {
        name: await page.locator(f"turbo-channels-status [part~={name}]").evaluate(
            "(part) => (({ color, width, fontWeight }) => [color, width, fontWeight])"
            "(getComputedStyle(part))"
        )
        for name in ("dot", "text")
    }

    assert styles["dot"][:2] == ["rgb(0, 128, 0)", "40px"]
    assert styles["text"][::2] == ["rgb(0, 128, 0)", "900"]
