"""A text on a page becomes the same, whatever happens to what brings it."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.refreshing import AnyPage
from tests.browser.scripted import SCRIPTS, Frame, Site, Socket
from tests.browser.watching import connected, let_pass, turn_clock
from tests.support.servers import PATIENCE
from turbo.replay.texts import StoredText
from turbo.streams import growing_html

pytestmark = pytest.mark.browser

LIVE = (*SCRIPTS, "text.js")
RUN = 17


def text(
    written: StoredText | None = None, *, tag: str = "div", id: str = "answer"
) -> str:
    return growing_html.text_tag(id, "id-chat", written, tag=tag, attributes={})


def writing(data: str, state: Any = "writing") -> StoredText:
    return StoredText(RUN, len(data), state, "text", data)


def part(data: str, at: int, *, run: int = RUN, state: Any = None) -> str:
    return growing_html.element("answer", run, at, "text", state, data)


def show(site: Site, body: str, *, path: str = "/", head: str = "") -> None:
    site.views[path] = lambda: site.html("chat", head=head, body=body, scripts=LIVE)


async def pass_on(socket: Socket, data: str) -> None:
    """Send a message without a number."""
    await socket.send(
        {"type": "message", "stream": "id-chat", "position": "", "data": data}
    )


async def opened(site: Site, page: AnyPage, body: str) -> Socket:
    show(site, body)
    await page.goto(site.url())
    await connected(page)
    return await site.socket()


def questions(socket: Socket) -> list[Frame]:
    return [frame for frame in socket.received if frame["type"] == "text"]


async def asked(site: Site, socket: Socket, number: int = 1) -> tuple[int, int]:
    """Wait for so many questions; return the run and the place of the last one."""
    await site.until(lambda: len(questions(socket)) >= number)
    last = questions(socket)[number - 1]
    assert (last["name"].partition("~")[0], last["id"]) == ("chat", "answer")
    return last["run"], last["at"]


async def reads(page: AnyPage, expected: str, state: str | None = "writing") -> None:
    """Wait until the text is exactly this."""
    await page.wait_for_function(
        """([expected, state]) => {
            const { textContent, dataset } = document.getElementById("answer")
            return textContent === expected && (dataset.state ?? null) === state
        }""",
        arg=[expected, state],
        timeout=1_000 * PATIENCE,
    )


# --- Growing


async def test_a_text_grows_by_what_the_page_gets(site: Site, page: Page) -> None:
    socket = await opened(site, page, text())

    await pass_on(socket, part("", 0))
    await pass_on(socket, part("a < ", 0))
    await pass_on(socket, part("<b>b</b>", 4))

    await reads(page, "a < <b>b</b>")
    assert await page.locator("#answer b").count() == 0
    assert await page.locator("#answer").get_attribute("aria-busy") == "true"


async def test_a_text_goes_on_from_what_the_server_has_rendered(
    site: Site, page: Page
) -> None:
    socket = await opened(site, page, text(writing("Hello")))
    assert await asked(site, socket) == (RUN, 5)

    await pass_on(socket, part(", world", 5))

    await reads(page, "Hello, world")
    count = await page.evaluate("document.querySelector('#answer').childNodes.length")
    assert count == 1


async def test_what_is_known_is_not_shown_twice(site: Site, page: Page) -> None:
    """Places count code points, whatever JavaScript counts."""
    socket = await opened(site, page, text(writing("ab😀")))

    await pass_on(socket, part("a", 0))
    await pass_on(socket, part("b😀👩\u200d👧", 1))
    await pass_on(socket, part("e", 6))
    await pass_on(socket, part("\u0301", 7))

    await reads(page, "ab😀👩\u200d👧e\u0301")


@pytest.mark.parametrize("tag", ["div", "span", "pre", "textarea", "td"])
@pytest.mark.parametrize("data", ["\n\na", "a\r\nb\r", " a\tb ", "&lt;"])
async def test_what_is_rendered_is_what_grows(
    site: Site, page: Page, tag: str, data: str
) -> None:
    """Character for character, also those that HTML leaves out or changes."""
    before, after = ("<table><tr>", "</tr></table>") if tag == "td" else ("", "")
    body = before + text(writing(data), tag=tag) + after
    socket = await opened(site, page, body)
    await reads(page, data)

    await pass_on(socket, part("", 0, run=RUN + 1))
    await pass_on(socket, part(data[:2], 0, run=RUN + 1))
    await pass_on(socket, part(data[2:], 2, run=RUN + 1))
    await page.wait_for_selector(f"#answer[data-run='{RUN + 1}']")

    await reads(page, data)


async def test_the_end_is_marked(site: Site, page: Page) -> None:
    await opened(site, page, text(writing("a")))

    await site.publish("chat", part("b", 1, state="finished"))

    await reads(page, "ab", "finished")
    assert await page.locator("#answer").get_attribute("aria-busy") is None


async def test_html_takes_the_place_of_the_text(site: Site, page: Page) -> None:
    await opened(site, page, text(writing("*a*")))

    end = growing_html.element(
        "answer", RUN, 3, "html", "finished", "<p><em>a</em></p>"
    )
    await site.publish("chat", end)

    await reads(page, "a", "finished")
    assert await page.locator("#answer em").count() == 1


async def test_a_failure_is_marked(site: Site, page: Page) -> None:
    await opened(site, page, text(writing("a")))

    await site.publish("chat", part("", 1, state="failed"))

    await reads(page, "a", "failed")


async def test_what_comes_after_the_end_changes_nothing(site: Site, page: Page) -> None:
    socket = await opened(site, page, text(writing("abc")))
    await site.publish("chat", part("", 3, state="finished"))
    await reads(page, "abc", "finished")

    await pass_on(socket, part("bc", 1))
    await pass_on(socket, part("d", 3))
    await pass_on(socket, part("x", 0, run=RUN - 1))
    await site.publish("chat", "last")
    await page.wait_for_selector("#chat li")

    await reads(page, "abc", "finished")


async def test_a_later_run_begins_anew(site: Site, page: Page) -> None:
    socket = await opened(site, page, text(writing("abc", "finished")))

    await pass_on(socket, part("x", 0, run=RUN + 1))
    await pass_on(socket, part("c", 2))
    await pass_on(socket, part("y", 1, run=RUN + 1))

    await reads(page, "xy")


# --- Holes


async def test_a_hole_is_asked_for_and_what_follows_is_kept(
    site: Site, page: Page
) -> None:
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)
    await pass_on(socket, part("", 2, state="writing"))

    await pass_on(socket, part("ef", 4))
    assert await asked(site, socket, 2) == (RUN, 2)
    await pass_on(socket, part("gh", 6))
    await pass_on(socket, part("cdef", 2, state="writing"))

    await reads(page, "abcdefgh")
    assert len(questions(socket)) == 2


async def test_an_end_behind_a_hole_is_found(site: Site, page: Page) -> None:
    """The last part was lost, and the end has a number."""
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)
    await pass_on(socket, part("", 2, state="writing"))

    await site.publish("chat", part("e", 4, state="finished"))
    await asked(site, socket, 2)
    await pass_on(socket, part("cde", 2, state="finished"))

    await reads(page, "abcde", "finished")


async def test_a_run_whose_beginning_was_lost_is_asked_for(
    site: Site, page: Page
) -> None:
    socket = await opened(site, page, text())
    await asked(site, socket)
    await pass_on(socket, growing_html.unknown("answer"))

    await pass_on(socket, part("cd", 2))
    assert await asked(site, socket, 2) == (RUN, 0)
    await pass_on(socket, part("abcd", 0, state="writing"))

    await reads(page, "abcd")


async def test_a_page_that_comes_back_asks(site: Site, page: Page) -> None:
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)
    await pass_on(socket, part("", 2, state="writing"))

    socket.cut()
    again = await site.socket(2)
    assert await asked(site, again) == (RUN, 2)
    await pass_on(again, part("cd", 2, state="writing"))

    await reads(page, "abcd")


async def test_a_question_without_an_answer_is_asked_again(
    site: Site, page: Page
) -> None:
    await turn_clock(page)
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)

    await let_pass(page, 12)
    assert await asked(site, socket, 2) == (RUN, 2)
    await pass_on(socket, part("c", 2, state="writing"))

    await reads(page, "abc")


async def test_a_writer_that_is_gone_is_asked_about(site: Site, page: Page) -> None:
    """A process that was killed tells nobody."""
    await turn_clock(page)
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)
    await pass_on(socket, part("", 2, state="writing"))
    await let_pass(page, 5)
    await asked(site, socket, 2)
    await pass_on(socket, part("", 2, state="writing"))

    for step in range(8):
        await let_pass(page, 5)
        await site.publish("chat", str(step))  # the connection is alive
        await page.wait_for_selector(f"#chat li:nth-child({step + 1})")
    await asked(site, socket, 3)
    await pass_on(socket, part("", 2, state="silent"))

    await reads(page, "ab", "failed")


async def test_a_writer_that_was_silent_goes_on(site: Site, page: Page) -> None:
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)
    await pass_on(socket, part("", 2, state="silent"))
    await reads(page, "ab", "failed")

    await pass_on(socket, part("c", 2))
    await asked(site, socket, 2)
    await pass_on(socket, part("", 3, state="writing"))

    await reads(page, "abc")


async def test_an_answer_from_before_the_end_does_not_open_it_again(
    site: Site, page: Page
) -> None:
    socket = await opened(site, page, text(writing("ab")))
    await asked(site, socket)

    await site.publish("chat", part("", 2, state="failed"))
    await pass_on(socket, part("", 2, state="writing"))
    await site.publish("chat", "last")
    await page.wait_for_selector("#chat li")

    await reads(page, "ab", "failed")


# --- What appears, and what is rendered again


async def test_a_text_that_appears_asks(site: Site, page: Page) -> None:
    socket = await opened(site, page, "<div id='box'></div>")

    await page.evaluate("(html) => { box.innerHTML = html }", text(writing("ab")))

    assert await asked(site, socket) == (RUN, 2)


async def test_a_text_that_has_finished_asks_nothing(site: Site, page: Page) -> None:
    done = text(writing("ab", "finished"), id="done")
    socket = await opened(site, page, done + text())

    await asked(site, socket)

    assert [frame["id"] for frame in questions(socket)] == ["answer"]


@pytest.mark.parametrize("method", ["morph", "replace"])
@pytest.mark.parametrize(
    ("before", "after"), [("Hello, wo", "Hello"), ("Hello", "Hello, wo")]
)
async def test_a_refresh_keeps_the_longer_text(
    site: Site, page: Page, method: str, before: str, after: str
) -> None:
    head = f'<meta name="turbo-refresh-method" content="{method}">'
    show(site, text(writing(before)), head=head)
    await page.goto(site.url())
    await connected(page)
    socket = await site.socket()
    show(site, text(writing(after)) + "<i></i>", head=head)

    await site.publish("chat", '<turbo-stream action="refresh"></turbo-stream>')
    await page.wait_for_selector("i", state="attached")
    await connected(page)
    await reads(page, "Hello, wo")
    await pass_on(socket, part("rld", 9))

    await reads(page, "Hello, world")


async def test_a_refresh_takes_what_has_ended(site: Site, page: Page) -> None:
    head = '<meta name="turbo-refresh-method" content="morph">'
    show(site, text(writing("*abc*")), head=head)
    await page.goto(site.url())
    await connected(page)
    end = StoredText(RUN, 5, "finished", "html", "<em>abc</em>")
    show(site, text(end) + "<i></i>", head=head)

    await site.publish("chat", '<turbo-stream action="refresh"></turbo-stream>')
    await page.wait_for_selector("i", state="attached")

    await reads(page, "abc", "finished")


async def test_a_message_that_is_replaced_keeps_its_text(
    site: Site, page: Page
) -> None:
    await opened(site, page, f"<div id='message'>{text(writing('abc'))}</div>")

    fresh = f"<div id='message' class='new'>{text(writing('a'))}</div>"
    await site.publish(
        "chat",
        '<turbo-stream action="replace" target="message">'
        f"<template>{fresh}</template></turbo-stream>",
    )
    await page.wait_for_selector("#message.new")

    await reads(page, "abc")


async def test_a_page_from_the_cache_asks(site: Site, page: Page) -> None:
    socket = await opened(site, page, text(writing("ab")))
    show(site, "<p>other</p>", path="/other")
    await asked(site, socket)
    await pass_on(socket, part("c", 2, state="writing"))
    await reads(page, "abc")

    await page.evaluate("Turbo.visit('/other')")
    await page.wait_for_selector("p")
    await connected(page)
    before = len(questions(socket))
    await page.go_back()
    await connected(page)

    assert await asked(site, socket, before + 1) == (RUN, 3)


async def test_a_text_in_a_frame_asks(site: Site, page: Page) -> None:
    site.views["/frame"] = lambda: (
        f"<turbo-frame id='frame'>{text(writing('ab'))}</turbo-frame>"
    )
    socket = await opened(
        site, page, "<turbo-frame id='frame' src='/frame'></turbo-frame>"
    )

    assert await asked(site, socket) == (RUN, 2)


# --- Pages that cannot ask


async def test_a_page_without_a_subscription_says_so_once(
    site: Site, page: Page
) -> None:
    await turn_clock(page)
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    body = text() + text(id="other")
    site.views["/"] = lambda: site.html(body=body, scripts=LIVE)

    await page.goto(site.url())
    await let_pass(page, 5)

    [line] = [line for line in lines if "turbo_text" in line]
    assert "#answer" in line


async def test_a_page_on_an_event_stream_refreshes_itself(
    site: Site, page: Page
) -> None:
    """It cannot ask, and has a hole."""
    head = '<meta name="turbo-refresh-method" content="morph">'
    source = "<turbo-stream-source src='/events'></turbo-stream-source>"
    site.views["/"] = lambda: site.html(
        head=head, body=source + text(writing("ab")), scripts=LIVE
    )
    await page.goto(site.url())
    await page.wait_for_function("() => Turbo.StreamActions.grow")
    site.views["/"] = lambda: site.html(
        head=head, body=source + text(writing("abcd")), scripts=LIVE
    )

    for data in (part("e", 4), part("f", 5)):
        await page.evaluate("(html) => Turbo.renderStreamMessage(html)", data)
    await reads(page, "abcdef")
    await page.evaluate(
        "(html) => Turbo.renderStreamMessage(html)", part("g", 6, state="finished")
    )

    await reads(page, "abcdefg", "finished")
    assert site.requests.count("/") == 2


# --- Progress


def progress(value: int, total: int | None, at: int, **more: Any) -> str:
    state = more.pop("state", None)
    data = json.dumps({"value": value, "total": total} | more)
    return growing_html.element("job", RUN, at, "progress", state, data)


BAR = """
<div id="job" data-turbo-progress="id-chat"><progress aria-label="Import"></progress>
<span data-note></span><span role="status" data-finished="Done" data-failed="Failed">
</span></div>
"""


async def bar(page: Page) -> list[Any]:
    """Return what the progress shows and says."""
    found: list[Any] = await page.evaluate(
        """() => {
            const bar = document.querySelector("#job progress")
            const [note, status] = document.querySelectorAll("#job span")
            const said = status.textContent.trim()
            return [Math.round(100 * bar.position), note.textContent, said]
        }"""
    )
    return found


async def test_a_progress_shows_the_last_state(site: Site, page: Page) -> None:
    socket = await opened(site, page, BAR)
    assert await bar(page) == [-100, "", ""]

    await pass_on(socket, progress(3, None, 1))
    await pass_on(socket, progress(4, 9, 3, note="Rake & hoe"))
    await pass_on(socket, progress(2, 9, 2, note="late"))
    await page.wait_for_selector("#job[data-at='3']")
    await site.publish("chat", "last")
    await page.wait_for_selector("#chat li")

    assert await bar(page) == [44, "Rake & hoe", "25 %"]
    await site.publish("chat", progress(9, 9, 4, state="finished"))
    await page.wait_for_selector("#job[data-state='finished']")
    assert await bar(page) == [100, "", "Done"]


async def test_a_screen_reader_hears_each_quarter(site: Site, page: Page) -> None:
    """Not each of a thousand steps."""
    socket = await opened(site, page, BAR)
    await page.evaluate(
        """() => {
            window.said = []
            const status = document.querySelector("[role=status]")
            new MutationObserver(() => said.push(status.textContent))
                .observe(status, { childList: true })
        }"""
    )

    for value in range(1_001):
        await pass_on(socket, progress(value, 1_000, value + 1))
    await page.wait_for_selector("#job[data-at='1001']")

    said = await page.evaluate("said")
    assert [line for line in said if line.strip()] == ["25 %", "50 %", "75 %", "100 %"]
    box = await page.locator("[role=status]").bounding_box()
    assert box is not None
    assert box["width"] <= 1


async def test_a_progress_that_appears_asks(site: Site, page: Page) -> None:
    socket = await opened(site, page, BAR)

    await site.until(lambda: bool(questions(socket)))

    assert questions(socket)[0]["id"] == "job"


async def test_a_page_that_shows_no_text_is_left_alone(site: Site, page: Page) -> None:
    """It shows the stream, and has not loaded the module."""
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    socket = await site.socket()

    await pass_on(socket, part("a", 0))
    await pass_on(socket, progress(1, 2, 1))
    await site.publish("chat", part("", 1, state="finished"), "last")
    await page.wait_for_selector("#chat li")

    assert lines == []


async def test_escaped_markup_is_text(site: Site, page: Page) -> None:
    """Whatever a model answers, nothing of it runs."""
    evil = "</template></turbo-stream><img src=x onerror=alert(1)><script>0</script>"
    assert html.escape(evil, quote=False) in part(evil, 0)
    socket = await opened(site, page, text())

    await pass_on(socket, part(evil, 0))

    await reads(page, evil)
    assert await page.locator("img").count() == 0
