"""What a page says about its connection, and how a program uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.scripted import Answer, Site, Socket, subscribed
from tests.browser.watching import (
    SOURCE,
    attribute,
    connected,
    is_marked,
    let_pass,
    mark,
    shows,
    turn_clock,
)
from tests.support.servers import PATIENCE

pytestmark = pytest.mark.browser


async def record_states(page: Page) -> None:
    """Note every change of the state of the pages that are opened from now on."""
    await page.add_init_script(
        """
        window.states = []
        document.addEventListener("turbo-channels:state", ({ detail }) => {
          window.states.push(detail)
        })
        """
    )


async def states(page: Page) -> list[str]:
    """Return the states so far; each begins where the one before ended."""
    noted: list[dict[str, Any]] = await page.evaluate("window.states")
    ends = [change["state"] for change in noted]
    assert [change["previous"] for change in noted] == ["idle", *ends][:-1]
    return ends


async def is_in_state(page: Page, state: str) -> None:
    """Wait until the page is in a state, and has said so."""
    await page.wait_for_function(
        "(state) => TurboChannels.state === state && states.at(-1)?.state === state",
        arg=state,
        timeout=1_000 * PATIENCE,
    )


# --- The event


async def test_page_says_when_it_is_connected(site: Site, page: Page) -> None:
    await record_states(page)
    site.show("/", "chat", "room")

    await page.goto(site.url())
    await is_in_state(page, "connected")

    assert await states(page) == ["connecting", "connected"]


async def test_page_says_when_the_connection_is_lost(site: Site, page: Page) -> None:
    await record_states(page)
    site.show("/", "chat")
    await page.goto(site.url())
    await is_in_state(page, "connected")

    (await site.socket()).cut()
    await site.subscription("chat", 2)
    await is_in_state(page, "connected")

    assert await states(page) == [
        "connecting",
        "connected",
        "disconnected",
        "connected",
    ]


async def test_page_without_streams_says_nothing(site: Site, page: Page) -> None:
    await record_states(page)
    site.show("/", body="<p>plain</p>")

    await page.goto(site.url())
    await page.wait_for_function("() => window.TurboChannels")

    assert await page.evaluate("TurboChannels.state") == "idle"
    assert await states(page) == []


async def test_visit_to_a_page_without_streams_ends_idle(
    site: Site, page: Page
) -> None:
    await record_states(page)
    site.show("/", "chat")
    site.show("/plain")
    await page.goto(site.url())
    await is_in_state(page, "connected")

    await page.evaluate("Turbo.visit('/plain')")
    await is_in_state(page, "idle")

    assert await states(page) == ["connecting", "connected", "idle"]


async def test_preview_is_not_connected_and_not_a_change(
    site: Site, page: Page
) -> None:
    await record_states(page)
    site.show("/", "chat")
    site.show("/other", "room")
    await page.goto(site.url())
    await is_in_state(page, "connected")
    await page.evaluate("Turbo.visit('/other')")
    await site.subscription("room")
    await is_in_state(page, "connected")
    release = site.hold("/")

    await page.evaluate("Turbo.visit('/')")
    await page.wait_for_selector("html[data-turbo-preview]")
    assert await page.locator(f"{SOURCE}[connected]").count() == 0
    await page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    assert await page.evaluate("TurboChannels.state") == "connected"
    before = await states(page)
    release()
    await site.subscription("chat", 2)
    await is_in_state(page, "connected")

    assert (await states(page))[len(before) :] == ["connecting", "connected"]


# --- The truth about a network that is gone


async def test_page_without_network_says_so_within_three_seconds(
    site: Site, page: Page
) -> None:
    """The browser only swallows what is sent: no socket is closed."""
    await turn_clock(page)
    await record_states(page)
    await page.add_init_script(
        "addEventListener('offline', () => (window.isOffline = true))"
    )
    site.show("/", "chat")
    await page.goto(site.url())
    await is_in_state(page, "connected")

    await page.context.set_offline(True)
    await page.wait_for_function("() => window.isOffline")
    assert await page.locator(f"{SOURCE}[connected]").count() == 1
    await let_pass(page, 3)

    assert await page.locator(f"{SOURCE}[connected]").count() == 0
    assert await states(page) == ["connecting", "connected", "offline"]
    await page.context.set_offline(False)
    await is_in_state(page, "connected")
    await connected(page)


async def test_page_whose_server_still_answers_is_connected(
    site: Site, page: Page
) -> None:
    await turn_clock(page)
    await record_states(page)
    site.show("/", "chat")
    await page.goto(site.url())
    await is_in_state(page, "connected")
    socket = await site.socket()

    await page.evaluate(
        """() => {
            Object.defineProperty(navigator, "onLine", { value: false })
            dispatchEvent(new Event("offline"))
        }"""
    )
    await site.until(lambda: {"type": "ping"} in socket.received)
    await site.publish("chat", "later than the pong")
    await shows(page, "later than the pong")
    await let_pass(page, 30)

    assert await states(page) == ["connecting", "connected"]
    assert await page.locator(f"{SOURCE}[connected]").count() == 1


async def test_silent_cut_is_noticed_within_two_heartbeats(
    site: Site, page: Page
) -> None:
    await turn_clock(page)
    await record_states(page)
    site.show("/", "chat")
    await page.goto(site.url())
    await is_in_state(page, "connected")
    site.is_silent = True

    await let_pass(page, 59)

    assert await page.locator(f"{SOURCE}[connected]").count() == 0
    assert await states(page) == ["connecting", "connected", "disconnected"]


async def test_handshake_that_is_refused_for_ever_is_never_connected(
    site: Site, page: Page
) -> None:
    """The scripted site has nothing but sockets at /ws/: anything else is refused."""
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    await turn_clock(page)
    await record_states(page)
    head = '<meta name="turbo-channels-url" content="/not-here">'
    site.show("/", "chat", head=head)
    await page.goto(site.url())

    line = site.url("/not-here").replace("http", "ws") + ": no connection"
    while not any(said.startswith(line) for said in lines):
        await let_pass(page, 12)

    assert await states(page) == ["connecting", "disconnected"]
    assert await page.locator(f"{SOURCE}[connected]").count() == 0


# --- A page that could not be refreshed


async def give_up(page: Page) -> None:
    """Do what the refresher does when its refreshes do not help."""
    await dispatch(page, "turbo-channels:gave-up")
    await is_in_state(page, "stale")


async def dispatch(page: Page, name: str) -> None:
    await page.evaluate(
        "(name) => document.dispatchEvent(new CustomEvent(name, { detail: {} }))", name
    )


async def test_page_that_gave_up_is_no_longer_connected(site: Site, page: Page) -> None:
    await record_states(page)
    site.show("/", "chat", "room")
    await page.goto(site.url())
    await is_in_state(page, "connected")

    await give_up(page)
    assert await page.locator(f"{SOURCE}[connected]").count() == 0
    (await site.socket()).cut()
    await is_in_state(page, "disconnected")
    await site.subscription("chat", 2)
    await is_in_state(page, "stale")

    assert await page.locator(f"{SOURCE}[connected]").count() == 0
    await site.publish("chat", "still shown")
    await shows(page, "still shown")


async def test_page_that_is_healed_is_connected(site: Site, page: Page) -> None:
    await record_states(page)
    site.show("/", "chat")
    await page.goto(site.url())
    await is_in_state(page, "connected")
    await give_up(page)

    await dispatch(page, "turbo-channels:healed")

    await is_in_state(page, "connected")
    await connected(page)


async def test_morph_of_a_newer_page_ends_stale(site: Site, page: Page) -> None:
    await record_states(page)
    head = '<meta name="turbo-refresh-method" content="morph">'
    site.show("/", "chat", head=head)
    await page.goto(site.url())
    await is_in_state(page, "connected")
    await give_up(page)

    await page.evaluate("Turbo.session.refresh(document.baseURI)")

    await is_in_state(page, "connected")
    await connected(page)


async def test_visit_ends_stale_and_its_snapshot_does_not(
    site: Site, page: Page
) -> None:
    await record_states(page)
    site.show("/", "chat")
    site.show("/other", "room")
    await page.goto(site.url())
    await is_in_state(page, "connected")
    await give_up(page)

    await page.evaluate("Turbo.visit('/other')")
    await is_in_state(page, "connected")
    await connected(page)
    await page.go_back()
    await is_in_state(page, "stale")

    assert await page.locator(f"{SOURCE}[connected]").count() == 0


async def test_new_connection_does_not_heal_what_refreshes_could_not(
    site: Site, page: Page
) -> None:
    """The page comes from a cache: each refresh brings the same loss again."""

    async def lose(socket: Socket, name: str, since: str) -> bool:
        await socket.send(subscribed(name, position="e1:0", recovered=False))
        return True

    site.answer = lose
    html = site.html("chat")
    site.views["/"] = lambda: html
    await turn_clock(page)
    await record_states(page)
    await page.goto(site.url())
    while await page.evaluate("TurboChannels.state") != "stale":
        await let_pass(page, 5)
    site.answer = None

    await page.evaluate("states.length = 0, TurboChannels.reconnect()")
    await page.wait_for_function("() => states.length === 2")

    assert await page.evaluate("states.map(({ state }) => state)") == [
        "connecting",
        "stale",
    ]


# --- Denials


async def test_console_says_once_why_streams_are_denied(site: Site, page: Page) -> None:
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    await record_states(page)
    site.answer = denying("forged", "forged")
    site.show("/", "chat", "room")

    await page.goto(site.url())
    await is_in_state(page, "denied")

    said = [line for line in lines if "denied" in line]
    assert said == [
        "turbo-channels-stream-source: denied: forged: "
        "signed with another SECRET_KEY: reload the page"
    ]


async def test_page_of_another_user_is_live_when_they_return(
    site: Site, page: Page
) -> None:
    await record_states(page)
    site.answer = denying("revoked", "foreign")
    site.show("/", "chat")
    await page.goto(site.url())
    await page.wait_for_selector(f"{SOURCE}[denied=revoked]", state="attached")

    await page.evaluate("dispatchEvent(new Event('focus'))")
    await page.wait_for_selector(f"{SOURCE}[denied=foreign]", state="attached")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await is_in_state(page, "connected")

    assert len(site.sockets) == 3
    assert await states(page) == ["connecting", "denied", "connected"]
    assert await attribute(page, "denied") is None


def denying(*reasons: str) -> Answer:
    """Deny the first subscriptions, each for the next of the reasons."""
    left = list(reasons)

    async def deny(socket: Socket, name: str, since: str) -> bool:
        if not left:
            return False
        reason = left.pop(0)
        await socket.send({"type": "denied", "name": name, "reason": reason})
        return True

    return deny


async def test_user_who_logs_in_again_in_another_tab_is_live_without_a_reload(
    page: Page, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    url = daphne(make_project("memory")).url
    await page.goto(f"{url}/login/ann/?next=/rooms/1/")
    await connected(page)
    await mark(page)
    tab = await page.context.new_page()

    await tab.goto(f"{url}/logout/")
    await page.wait_for_selector(f"{SOURCE}[denied=revoked]", state="attached")
    await tab.goto(f"{url}/rooms/1/say/?text=missed")
    await page.evaluate("dispatchEvent(new Event('focus'))")
    await page.wait_for_selector(f"{SOURCE}[denied=foreign]", state="attached")
    await tab.goto(f"{url}/login/ann/")
    await page.evaluate("dispatchEvent(new Event('focus'))")
    await connected(page)

    await expect(page.locator("#messages li")).to_have_text(["missed"])
    assert await is_marked(page)


# --- The handle


async def test_module_exports_the_handle_of_the_page(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    exported = await page.evaluate(
        """async () => {
            const client = await import("/static/turbo-channels.js")
            return client.TurboChannels === window.TurboChannels
        }"""
    )

    assert exported
    assert await page.evaluate("Object.keys(TurboChannels).sort()") == [
        "id",
        "reconnect",
        "send",
        "state",
        "streamOf",
    ]


async def test_second_copy_of_the_module_has_the_handle_of_the_first(
    site: Site, page: Page
) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    await page.evaluate("window.first = TurboChannels")

    second = await page.evaluate(
        """async () => {
            const { TurboChannels } = await import("/static/turbo-channels.js?copy")
            return [TurboChannels === first, window.TurboChannels === first]
        }"""
    )

    assert second == [True, True]
    assert await page.evaluate("TurboChannels.state") == "connected"


async def test_reconnect_opens_a_new_socket(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    await page.evaluate("TurboChannels.reconnect()")
    await site.subscription("chat", 2)
    await connected(page)

    assert [socket.is_open for socket in site.sockets] == [False, True]


async def test_id_stays_over_visits_and_new_sockets(site: Site, page: Page) -> None:
    site.show("/", "chat")
    site.show("/other", "room")
    await page.goto(site.url())
    await connected(page)
    first = await page.evaluate("TurboChannels.id")

    await page.evaluate("Turbo.visit('/other')")
    await site.subscription("room")
    await page.evaluate("TurboChannels.reconnect()")
    await site.socket(2)
    assert await page.evaluate("TurboChannels.id") == first
    await page.reload()

    assert await page.evaluate("TurboChannels.id") != first


# --- Before and after a message


async def test_program_sees_each_message_before_and_after_it_is_shown(
    site: Site, page: Page
) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    await page.evaluate(
        """() => {
            window.seen = []
            for (const name of ["before-message", "message"]) {
              document.addEventListener(`turbo-channels:${name}`, ({ detail }) => {
                const length = document.querySelectorAll("#chat li").length
                seen.push([name, detail.stream, detail.position, length])
              })
            }
        }"""
    )

    await site.publish("chat", "one")
    await shows(page, "one")

    assert await page.evaluate("window.seen") == [
        ["before-message", "id-chat", "e1:1", 0],
        ["message", "id-chat", "e1:1", 1],
    ]


async def test_message_that_a_program_cancels_is_applied_without_being_shown(
    site: Site, page: Page
) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    await page.evaluate(
        """() => document.addEventListener("turbo-channels:before-message", (event) => {
            if (event.detail.html.includes("mine")) event.preventDefault()
        })"""
    )

    await site.publish("chat", "one", "mine", "two")
    await shows(page, "one", "two")
    assert await attribute(page, "since") == "e1:3"
    (await site.socket()).cut()
    again = await site.subscription("chat", 2)

    assert again["since"] == "e1:3"
