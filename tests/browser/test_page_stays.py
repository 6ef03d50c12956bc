"""A refresh that nobody asked for costs nobody their page or their work."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route

from tests.browser.refreshing import BAR_SHOWN, AnyPage, LivePage, hurry
from tests.browser.scripted import Reply, Site
from tests.browser.watching import (
    connected,
    fetched,
    let_pass,
    shows,
    turn_clock,
)
from tests.support.servers import PATIENCE

pytestmark = pytest.mark.browser

TYPING = '<form action="/post" method="post"><input id="text" name="text"></form>'
BROKEN = [Reply("bad gateway", 502), Reply("error", 500), Reply(status=0)]
BROKEN_IDS = ["502", "500", "no network"]


# --- A server in trouble


@pytest.mark.parametrize("reply", BROKEN, ids=BROKEN_IDS)
async def test_a_refresh_that_meets_trouble_is_tried_again(
    site: Site, any_page: AnyPage, reply: Reply
) -> None:
    live = LivePage(site, any_page, TYPING)
    await hurry(any_page)
    await live.open()
    await any_page.fill("#text", "half a sen")
    live.replies = [reply, reply]

    await live.refresh()
    await site.publish("chat", "live")
    await shows(any_page, "live")

    assert live.replies == []
    assert await live.is_same()
    assert await live.value("#text") == "half a sen"


async def test_a_page_that_is_forbidden_now_stays_and_says_so(
    site: Site, any_page: AnyPage
) -> None:
    live = LivePage(site, any_page, TYPING)
    await live.open()
    await any_page.fill("#text", "half a sen")
    live.replies = [Reply("forbidden", 403)]

    await live.ask()
    await live.bar()

    assert await live.is_same()
    assert await live.value("#text") == "half a sen"
    assert await any_page.evaluate("gaveUp.length") == 1
    # It is told, not asked again: the next broadcast tries again.
    await live.refresh()
    assert await live.value("#text") == "half a sen"


# --- A form on its way


async def test_a_form_on_its_way_is_followed_before_a_refresh(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, TYPING)
    site.show("/done", "chat", body='<p id="done">done</p>')
    arrived, released, posts = asyncio.Event(), asyncio.Event(), []

    async def post(route: Route) -> None:
        posts.append(route.request.post_data)
        arrived.set()
        await released.wait()
        await route.fulfill(status=303, headers={"Location": "/done"})

    await page.route("**/post", post)
    await turn_clock(page)
    await live.open()
    await page.fill("#text", "a sentence")
    await page.press("#text", "Enter")
    await arrived.wait()

    await live.ask()
    await site.publish("chat", "after it")
    await shows(page, "after it")
    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/post"]
    released.set()
    await page.wait_for_selector("#done")

    assert posts == ["text=a+sentence"]
    assert page.url == site.url("/done")


async def test_a_form_that_turbo_cancels_a_refresh_for_does_not_end_refreshes(
    site: Site, any_page: AnyPage
) -> None:
    """It is sent just before the refresh is shown, and answered with a stream."""
    answer = '<turbo-stream action="remove" target="gone"></turbo-stream>'
    mime = {"Content-Type": "text/vnd.turbo-stream.html"}
    site.views["/post"] = lambda: Reply(answer, headers=mime)
    form = '<form action="/post"><button data-turbo-stream>save</button></form>'
    live = LivePage(site, any_page, f'{form}<p id="p">OLD</p>')
    await live.open()
    await any_page.evaluate(
        """() => {
          const send = () => document.querySelector("form").requestSubmit()
          addEventListener("turbo:visit", send, { once: true })
        }"""
    )

    await live.refresh(live.body.replace("OLD", "new"))

    assert site.requests == ["/", "/", "/post", "/"]
    assert await any_page.evaluate("document.querySelector('#p').textContent") == "new"


async def test_a_refresh_that_turbo_hands_on_is_not_asked_for_again(
    site: Site, page: Page
) -> None:
    """The adapter of a native application shows the page in its own way."""
    live = LivePage(site, page, TYPING)
    await turn_clock(page)
    await live.open()
    await page.evaluate("Turbo.visit = () => {}")

    await live.ask()
    while not await fetched(page):
        await let_pass(page, seconds=1)
    for number in range(3):
        await let_pass(page, seconds=5)
        await site.publish("chat", f"message {number}")
        await shows(page, *site.log["chat"])

    assert await fetched(page) == ["/"]


# --- What is open


async def test_a_modal_dialog_stays_open_and_of_use(
    site: Site, each_page: AnyPage
) -> None:
    body = '<dialog id="d"><form method="dialog"><input id="text"><button>'
    body += 'close</button></form></dialog><p id="p">OLD</p>'
    live = LivePage(site, each_page, body)
    await live.open()
    await each_page.evaluate("document.querySelector('#d').showModal()")
    await each_page.fill("#text", "half a sen")

    await live.refresh(body.replace("OLD", "new"))
    await each_page.keyboard.type("tence")

    assert await live.value("#text") == "half a sentence"
    assert await each_page.evaluate("document.querySelector('#d').matches(':modal')")
    assert await each_page.evaluate("document.querySelector('#p').textContent") == "new"
    await each_page.click("#d button")
    await each_page.wait_for_function("() => !document.querySelector('#d').open")
    assert await each_page.evaluate("document.querySelector(':modal')") is None


async def test_text_that_the_server_changes_in_a_dialog_is_shown(
    site: Site, any_page: AnyPage
) -> None:
    body = '<dialog id="d"><p id="p">OLD</p><button>ok</button></dialog>'
    live = LivePage(site, any_page, body)
    await live.open()
    await any_page.evaluate("document.querySelector('#d').showModal()")

    await live.refresh(body.replace("OLD", "new"))

    assert await any_page.evaluate("document.querySelector('#d').matches(':modal')")
    assert await any_page.evaluate("document.querySelector('#p').textContent") == "new"


async def test_a_popover_stays_open(site: Site, each_page: AnyPage) -> None:
    body = '<button popovertarget="menu">menu</button><div id="menu" popover>'
    body += '<p id="p">OLD</p></div>'
    live = LivePage(site, each_page, body)
    await live.open()
    await each_page.click("button")

    await live.refresh(body.replace("OLD", "new"))

    is_open = "document.querySelector('#menu').matches(':popover-open')"
    assert await each_page.evaluate(is_open)
    assert await each_page.evaluate("document.querySelector('#p').textContent") == "new"


async def test_details_stay_as_the_person_left_them(
    site: Site, each_page: AnyPage
) -> None:
    body = '<details id="a"><summary>a</summary>OLD</details>'
    body += '<details id="b" open><summary>b</summary>OLD</details>'
    live = LivePage(site, each_page, body)
    await live.open()
    await each_page.click("#a summary")
    await each_page.click("#b summary")

    await live.refresh(body.replace("OLD", "new"))

    opened = "['a', 'b'].map((id) => document.getElementById(id).open)"
    assert await each_page.evaluate(opened) == [True, False]


async def test_details_without_ids_stay_open(site: Site, any_page: AnyPage) -> None:
    body = "<details><summary>more</summary>text</details><p>OLD</p>"
    live = LivePage(site, any_page, body)
    await live.open()
    await any_page.click("summary")

    await live.refresh("<p>first</p>" + body.replace("OLD", "new"))

    assert await any_page.evaluate("document.querySelector('details').open")


# --- A session that is over, and pages that Turbo would load anew


def log_in(site: Site) -> Reply:
    site.show("/login", body='<p id="login">log in</p>')
    return Reply(status=302, headers={"Location": "/login"})


async def test_a_log_in_page_does_not_replace_unsaved_work(
    site: Site, any_page: AnyPage
) -> None:
    live = LivePage(site, any_page, TYPING)
    await live.open()
    await any_page.fill("#text", "half a sen")
    live.replies = [log_in(site)]

    await live.ask()
    await live.bar()

    assert await live.is_same()
    assert await live.value("#text") == "half a sen"
    assert await any_page.evaluate("location.pathname") == "/"


async def test_a_broadcast_during_a_refresh_that_is_given_up_is_followed(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, TYPING)
    await live.open()
    await page.fill("#text", "half a sen")
    live.replies = [log_in(site)]
    release = site.hold("/login")
    await live.ask()
    await site.requested("/login", 1)
    version = live.version + 1

    await live.ask()
    await site.publish("chat", "after it")
    await shows(page, "after it")
    release()
    await live.shows(version)

    assert await live.value("#text") == "half a sen"
    assert await page.locator(BAR_SHOWN).count() == 0


async def test_a_log_in_page_is_shown_where_nothing_is_lost(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, TYPING)
    await live.open()
    live.replies = [log_in(site)]

    await live.ask()

    await page.wait_for_selector("#login")


async def test_the_bar_is_announced_and_refreshes_when_it_is_asked(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, TYPING)
    await live.open()
    await page.fill("#text", "half a sen")
    live.replies = [log_in(site)]
    await live.ask()
    await live.bar()
    version = live.version

    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await live.shows(version + 1)

    # Now somebody has asked, and Turbo's own way is taken.
    assert await live.value("#text") == ""
    assert await page.locator(BAR_SHOWN).count() == 0


async def test_the_bar_leaves_a_dialog_that_is_closed(site: Site, page: Page) -> None:
    live = LivePage(site, page, '<dialog id="d">dialog</dialog>')
    await live.open()
    await page.evaluate("document.querySelector('#d').showModal()")
    live.replies = [Reply("no", 403)]
    await live.ask()
    await page.wait_for_selector(f"#d {BAR_SHOWN.removeprefix('body ')}")

    await page.keyboard.press("Escape")

    await live.bar()


@pytest.mark.parametrize("is_working", [True, False], ids=["work", "no work"])
async def test_changed_scripts_are_loaded_where_nothing_is_lost(
    site: Site, page: Page, is_working: bool
) -> None:
    asset = '<meta name="asset" content="VERSION" data-turbo-track="reload">'
    live = LivePage(site, page, TYPING, head=asset.replace("VERSION", "1"))
    await live.open()
    if is_working:
        await page.fill("#text", "half a sen")
    live.head = asset.replace("VERSION", "2")

    await live.ask()

    if is_working:
        await live.bar()
        assert await live.is_same()
        assert await live.value("#text") == "half a sen"
    else:
        await page.wait_for_function("() => window.marked === undefined")


# --- What is only on this page


async def test_errors_of_a_form_stay_with_its_values(site: Site, page: Page) -> None:
    """The server shows them once, in the answer to the form."""
    live = LivePage(site, page, TYPING)

    async def post(route: Route) -> None:
        invalid = TYPING.replace("<input", '<p id="error">too short</p><input')
        invalid = invalid.replace('name="text"', 'name="text" value="abc"')
        answer = live.html(invalid)
        await route.fulfill(status=422, body=answer, content_type="text/html")

    await page.route("**/post", post)
    await live.open()
    await page.fill("#text", "abc")
    await page.press("#text", "Enter")
    await page.wait_for_selector("#error")
    await connected(page, 2)

    await live.refresh()

    assert await live.value("#text") == "abc"
    assert await page.inner_text("#error") == "too short"


async def test_a_form_that_a_stream_brought_stays_while_it_is_used(
    site: Site, any_page: AnyPage
) -> None:
    live = LivePage(site, any_page, '<div id="box"></div>')
    await live.open()
    form = '<form id="late"><input id="text" name="text"></form>'
    await site.publish(
        "page",
        f'<turbo-stream action="append" target="box"><template>{form}</template>'
        "</turbo-stream>",
    )
    await any_page.fill("#text", "half a sen")

    await live.refresh()
    await any_page.keyboard.type("tence")

    assert await live.value("#text") == "half a sentence"


@pytest.mark.parametrize("has_focus", [True, False], ids=["focus", "no focus"])
async def test_edited_text_stays(
    site: Site, each_page: AnyPage, has_focus: bool
) -> None:
    body = '<div id="rich" contenteditable="true">old</div><p id="p">OLD</p>'
    body += '<button type="button" id="other">other</button>'
    live = LivePage(site, each_page, body)
    await live.open()
    await each_page.click("#rich")
    await each_page.keyboard.press("End")
    await each_page.keyboard.type(" and new")
    if not has_focus:
        await each_page.focus("#other")

    await live.refresh(body.replace("OLD", "new"))

    text = "document.querySelector('#rich').textContent"
    assert await each_page.evaluate(text) == "old and new"
    assert await each_page.evaluate("document.querySelector('#p').textContent") == "new"


async def test_edited_text_keeps_nothing_around_it_back(site: Site, page: Page) -> None:
    """Widgets put things of their own into the body."""
    body = '<div id="rich" contenteditable="true">old</div><p id="p">OLD</p>'
    live = LivePage(site, page, body)
    await live.open()
    await page.evaluate("document.body.append(document.createElement('aside'))")
    await page.click("#rich")
    await page.keyboard.press("End")
    await page.keyboard.type(" and new")

    await live.refresh(body.replace("OLD", "new"))

    assert await page.inner_text("#rich") == "old and new"
    assert await page.inner_text("#p") == "new"
    assert await page.locator("aside").count() == 1


async def test_media_play_on(site: Site, page: Page) -> None:
    body = '<div><video id="v" muted></video></div><p id="p">OLD</p>'
    live = LivePage(site, page, body)
    await live.open()
    await page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas")
            canvas.getContext("2d").fillRect(0, 0, 9, 9)
            const video = document.querySelector("#v")
            video.srcObject = canvas.captureStream(10)
            window.pauses = 0
            video.addEventListener("pause", () => (window.pauses += 1))
            await video.play()
        }"""
    )

    await live.refresh("<p>first</p>" + body.replace("OLD", "new"))

    assert await page.evaluate("[document.querySelector('#v').paused, pauses]") == [
        False,
        0,
    ]


def frame(site: Site, path: str, content: str) -> None:
    """Serve the content of the frame with the id ``frame``."""
    html = f'<turbo-frame id="frame">{content}</turbo-frame>'
    site.views[path] = lambda: site.html(body=html)


@pytest.mark.parametrize("status", [500, 200], ids=["error", "log-in page"])
async def test_a_frame_that_cannot_be_refreshed_stays(
    site: Site, page: Page, status: int
) -> None:
    body = '<turbo-frame id="frame" src="/frame" refresh="morph"></turbo-frame>'
    frame(site, "/frame", '<input id="text">')
    live = LivePage(site, page, body)
    await live.open()
    await page.fill("#text", "half a sen")
    site.views["/frame"] = lambda: Reply(
        "other", status, {"Content-Type": "text/html; charset=utf-8"}
    )

    await live.refresh(f"<p>new</p>{body}")
    await live.bar()

    assert await live.value("#text") == "half a sen"
    assert await live.lost() == []


@pytest.mark.parametrize("is_working", [True, False], ids=["in use", "not in use"])
async def test_a_frame_follows_its_address_unless_it_is_in_use(
    site: Site, page: Page, is_working: bool
) -> None:
    frame(site, "/a", '<p>a</p><input id="text"><a href="/b">b</a>')
    frame(site, "/b", '<p>b</p><input id="text">')
    frame(site, "/c", "<p>c</p>")
    body = '<turbo-frame id="frame" src="/a"></turbo-frame>'
    live = LivePage(site, page, body)
    await live.open()
    await page.click("#frame a")
    await page.get_by_text("b", exact=True).wait_for()
    await live.refresh()
    assert await page.inner_text("#frame p") == "b"
    if is_working:
        await page.fill("#text", "half a sen")

    await live.refresh(body.replace("/a", "/c"))

    if is_working:
        assert await live.value("#text") == "half a sen"
    else:
        await page.get_by_text("c", exact=True).wait_for()


async def test_a_refresh_does_not_wait_for_a_drag_that_never_ends(
    site: Site, page: Page
) -> None:
    """The browser tells nothing of the end if the element was removed."""
    live = LivePage(site, page, '<p id="a" draggable="true">drag me</p><p id="b">b</p>')
    await live.open()
    await page.hover("#a")
    await page.mouse.down()
    await page.hover("#b")
    await page.evaluate("document.querySelector('#a').remove()")
    await page.mouse.up()
    await page.hover("#version")
    await page.hover("#b")

    await live.refresh('<p id="b">new</p>')

    assert await page.inner_text("#b") == "new"


async def test_nothing_changes_during_a_drag(site: Site, page: Page) -> None:
    body = '<p id="a" draggable="true">drag me</p><p id="b">OLD</p>'
    live = LivePage(site, page, body)
    await turn_clock(page)
    await live.open()
    await page.hover("#a")
    await page.mouse.down()
    await page.hover("#b")

    live.body = body.replace("OLD", "new")
    await live.ask()
    await site.publish("chat", "after it")
    await shows(page, "after it")
    await let_pass(page, seconds=2)
    assert await page.inner_text("#b") == "OLD"
    await page.mouse.up()
    await let_pass(page, seconds=2)

    await page.wait_for_function(
        "() => document.querySelector('#b').textContent === 'new'"
    )


# --- Hooks of Turbo


async def test_the_guard_of_visits_is_asked_once_for_each_refresh(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, TYPING)
    await turn_clock(page)
    await live.open()
    await page.evaluate(
        """() => {
            window.guarded = 0
            addEventListener("turbo:before-visit", (event) => {
              window.guarded += 1
              event.preventDefault()
            })
        }"""
    )

    await live.ask()
    await site.requested("/", 2)
    await page.wait_for_function("() => window.gaveUp.length + window.guarded > 0")
    await let_pass(page, seconds=60)

    assert await page.evaluate("window.guarded") <= 1
    assert site.requests.count("/") == 2
    assert await live.is_same()


@pytest.mark.parametrize("cause", ["broadcast", "loss"])
async def test_the_request_of_a_refresh_is_told_as_those_of_turbo(
    site: Site, page: Page, cause: str
) -> None:
    """A project adds its headers there."""
    live = LivePage(site, page, TYPING)
    await live.open()
    await page.evaluate(
        """() => addEventListener("turbo:before-fetch-request", ({ detail }) => {
            detail.fetchOptions.headers["X-Mine"] = "yes"
        })"""
    )

    # To expect a request would begin to listen only after a while.
    asked: asyncio.Queue[str | None] = asyncio.Queue()

    async def pass_on(route: Route) -> None:
        asked.put_nowait(await route.request.header_value("X-Mine"))
        await route.continue_()

    await page.route(site.url(), pass_on)
    if cause == "broadcast":
        await live.ask()
    else:
        site.epoch = "e2"
        await site.sockets[0].send(
            {"type": "gap", "stream": "id-page", "position": "e2:0"}
        )

    assert await asyncio.wait_for(asked.get(), PATIENCE) == "yes"
