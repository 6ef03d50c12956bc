"""The client in Firefox, where what a page does depends on the browser."""

from __future__ import annotations

import pytest

from tests.browser.scripted import SCRIPTS, Reply, Site
from tests.browser.test_text import (
    RUN,
    asked,
    opened,
    part,
    pass_on,
    reads,
    text,
    writing,
)
from tests.browser.watching import SOURCE, connected, shows
from tests.support.firefox import BiDiError, Firefox, FirefoxPage
from turbo.streams.html import element

pytestmark = pytest.mark.browser


async def test_nothing_is_lost_or_doubled_over_cuts(
    site: Site, firefox_page: FirefoxPage
) -> None:
    site.show("/", "chat")
    await firefox_page.goto(site.url())
    await connected(firefox_page)

    for number in range(1, 4):
        await site.publish("chat", f"live {number}")
        (await site.socket(number)).cut()
        await site.publish("chat", f"missed {number}")
        await shows(firefox_page, *site.log["chat"])
    await site.publish("chat", "last")

    await shows(firefox_page, *site.log["chat"])


async def test_a_text_is_the_same_over_cuts(
    site: Site, firefox_page: FirefoxPage
) -> None:
    """Places count code points, also in what the page asks for."""
    socket = await opened(site, firefox_page, text(writing("a😀")))
    assert await asked(site, socket) == (RUN, 2)
    await pass_on(socket, part("👩\u200d👧\r\n", 2, state="writing"))
    await pass_on(socket, part("<b>", 7))
    await reads(firefox_page, "a😀👩\u200d👧\r\n<b>")

    socket.cut()
    again = await site.socket(2)
    assert await asked(site, again) == (RUN, 10)
    await pass_on(again, part("e", 10, state="writing"))
    await site.publish("chat", part("\u0301", 11, state="finished"))

    await reads(firefox_page, "a😀👩\u200d👧\r\n<b>e\u0301", "finished")


async def test_a_page_whispers_and_hears_whispers(
    site: Site, firefox_page: FirefoxPage
) -> None:
    source = site.source("chat").replace(SOURCE, f'{SOURCE} stream-id="id-chat"', 1)
    scripts = (*SCRIPTS, "whispers.js")
    site.views["/"] = lambda: site.html(body=source, scripts=scripts)
    await firefox_page.goto(site.url())
    await connected(firefox_page)
    socket = await site.socket()
    await firefox_page.wait_for_function("() => Turbo.StreamActions.whisper")

    is_sent = await firefox_page.evaluate(
        f"""() => {{
            window.heard = []
            addEventListener("turbo-stream:whisper", (e) => heard.push(e.detail))
            return document.querySelector("{SOURCE}").whisper("typing", ["é"])
        }}"""
    )
    await site.until(lambda: socket.received[-1]["type"] == "whisper")
    said = {"stream": "id-chat", "name": "typing", "user": "7", "data": '{"a": "<b>"}'}
    await pass_on(socket, element("whisper", attributes=said))
    await firefox_page.wait_for_function("() => heard.length")

    assert is_sent
    assert socket.received[-1] | {"name": "chat"} == {
        "type": "whisper",
        "name": "chat",
        "whisper": "typing",
        "data": ["é"],
    }
    heard = {"name": "typing", "data": {"a": "<b>"}, "user": "7"}
    assert await firefox_page.evaluate("heard") == [heard]


async def test_page_kept_by_the_browser_comes_back_whole(
    site: Site, firefox_page: FirefoxPage
) -> None:
    page = firefox_page
    site.show("/", "chat", body='<a href="/other" data-turbo="false">go</a>')
    site.show("/other", "room")
    await page.goto(site.url())
    await connected(page)
    socket = await site.socket()
    await page.evaluate(
        """() => {
            window.returns = []
            addEventListener("pageshow", ({ persisted }) => returns.push(persisted))
        }"""
    )

    await page.click("a")
    await page.wait_for_function("() => location.pathname === '/other'")
    await connected(page)
    await site.until(lambda: not socket.is_open)
    await site.publish("chat", "missed")
    await page.go_back()
    assert (await site.subscription("chat", 2))["since"] == "e1:0"
    await site.publish("chat", "live")
    await shows(page, "missed", "live")

    assert await page.evaluate("window.returns") == [True]
    assert site.requests == ["/", "/other"]
    assert len(site.open_sockets()) == 1


@pytest.mark.parametrize("name", ["download", "nothing", "mail"])
async def test_page_that_stays_has_its_socket_again(
    site: Site, firefox_page: FirefoxPage, name: str
) -> None:
    """Firefox closes it for a download, and keeps it for what is no page."""
    page = firefox_page
    site.views["/download"] = lambda: Reply(
        "data", headers={"Content-Disposition": "attachment", "Content-Type": "x/y"}
    )
    site.views["/nothing"] = lambda: Reply("", status=204)
    links = {"download": "/download", "nothing": "/nothing", "mail": "mailto:a@b.test"}
    link = f'<a href="{links[name]}" data-turbo="false">go</a>'
    site.show("/", "chat", body=link)
    await page.goto(site.url())
    await connected(page)

    await page.click("a")
    if name != "mail":
        await site.requested(links[name], 1)
        await site.subscription("chat", 2)
    await site.publish("chat", "still here")

    await shows(page, "still here")


async def test_person_who_does_not_leave_has_the_socket_again(
    site: Site, firefox_page: FirefoxPage
) -> None:
    """The page's own question is asked once; the client asks none."""
    page = firefox_page
    site.show("/", "chat", body='<a href="/other" data-turbo="false">go</a><input>')
    site.show("/other", body='<p id="other">')
    await page.goto(site.url())
    await connected(page)
    await page.fill("input", "text")
    await page.evaluate(
        "void addEventListener('beforeunload', (event) => event.preventDefault())"
    )

    await page.click("a")
    await page.stay()
    await site.subscription("chat", 2)
    await site.publish("chat", "still here")
    await shows(page, "still here")

    assert site.requests == ["/"]


async def test_nobody_is_asked_whether_to_leave(
    site: Site, firefox: Firefox, firefox_page: FirefoxPage
) -> None:
    page = firefox_page
    site.show("/", "chat", body='<a href="/other" data-turbo="false">go</a><input>')
    site.show("/other", body='<p id="other">')
    await page.goto(site.url())
    await connected(page)
    await page.fill("input", "text")

    await page.click("a")
    await page.wait_for_selector("#other")

    assert firefox.questions == []


async def test_a_person_works_in_it(site: Site, firefox_page: FirefoxPage) -> None:
    """What the other tests use of Firefox."""
    site.show(
        "/",
        body="""
            <input id="text" value="old"><input id="box" type="checkbox">
            <select id="choice"><option>a<option>b</select>
            <a href="/other" data-turbo="false">go</a>
        """,
    )
    site.show("/other", body="<p id=other>")
    page = firefox_page
    await page.add_init_script("window.isPrepared = true")
    await page.goto(site.url())

    await page.fill("#text", "new")
    await page.keyboard.press("Tab")
    await page.keyboard.type(" ")
    await page.select_option("#choice", "b")

    assert await page.evaluate("(sum) => sum + isPrepared", 1) == 2
    assert await page.input_value("#text") == "new"
    assert await page.is_checked("#box")
    assert await page.input_value("#choice") == "b"
    await page.click("a")
    await page.wait_for_selector("#other")
    await page.go_back()
    await page.wait_for_selector("#text")
    with pytest.raises(BiDiError, match="nowhere"):
        await page.evaluate("nowhere")
