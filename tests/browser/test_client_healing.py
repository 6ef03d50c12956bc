"""What a page does that has lost something: it fetches itself anew, and is morphed."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route

from tests.browser.refreshing import hurry
from tests.browser.scripted import Site, Socket, subscribed
from tests.browser.watching import (
    attribute,
    connected,
    events,
    fetched,
    is_marked,
    let_pass,
    mark,
    record_events,
    shows,
    texts,
    turn_clock,
)

pytestmark = pytest.mark.browser


@pytest_asyncio.fixture(loop_scope="session")
async def page(page: Page) -> Page:
    """A page that does not wait for a random moment."""
    await page.add_init_script("Math.random = () => 0")
    return page


async def hold_body(page: Page, path: str) -> None:
    """Keep the body of an answer from the page until it calls ``window.release``."""
    await page.add_init_script(
        """
        const read = Response.prototype.text
        const released = new Promise((resolve) => (window.release = resolve))
        Response.prototype.text = async function () {
          if (new URL(this.url).pathname === "PATH") {
            window.isReading = true
            await released
          }
          return read.call(this)
        }
        """.replace("PATH", path)
    )


async def lose_log(site: Site) -> None:
    """Do what a restart of Redis does: the next position is in another epoch."""
    site.epoch = "e2"
    for socket in site.open_sockets():
        for stream in dict.fromkeys(socket.streams.values()):
            position = f"e2:{len(site.log.get(stream, []))}"
            frame = {"type": "gap", "stream": f"id-{stream}", "position": position}
            await socket.send(frame)


async def test_gap_refreshes_the_page_by_morph(site: Site, page: Page) -> None:
    site.show("/", "chat", body='<div id="tall" style="height: 5000px"></div>')
    await record_events(page)
    await page.goto(site.url())
    await connected(page)
    await page.evaluate(
        """() => {
            document.querySelector("ul").isMarked = true
            scrollTo(0, 1234)
        }"""
    )
    await mark(page)
    site.log["chat"] = ["lost"]

    await lose_log(site)
    await shows(page, "lost")
    await site.publish("chat", "live")
    await shows(page, "lost", "live")

    assert await page.evaluate("document.querySelector('ul').isMarked")
    # Not at the top; the browser itself makes up for what came in above.
    assert await page.evaluate("scrollY") >= 1234
    assert await is_marked(page)
    noted = await events(page, 2)
    assert [(event["kind"], event["position"]) for event in noted] == [
        ("connected", "e1:0"),
        ("gap", "e2:1"),
    ]
    assert site.requests == ["/", "/"]
    assert len(site.sockets) == 1


async def test_history_that_is_gone_refreshes_the_page(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    socket = await site.socket()
    site.epoch = "e2"
    site.log["chat"] = ["lost", "too"]

    socket.cut()

    await shows(page, "lost", "too")
    assert await attribute(page, "since") == "e2:2"
    assert site.requests == ["/", "/"]


async def test_one_refresh_is_enough_for_all_streams(site: Site, page: Page) -> None:
    site.show("/", "chat", "room", "news")
    await record_events(page)
    await page.goto(site.url())
    await connected(page, 3)
    for stream in ("chat", "room", "news"):
        site.log[stream] = ["lost"]

    await lose_log(site)
    for stream in ("chat", "room", "news"):
        await shows(page, "lost", stream=stream)

    assert [event["kind"] for event in await events(page, 6)][3:] == ["gap"] * 3
    assert site.requests == ["/", "/"]


async def test_application_may_prevent_the_refresh(site: Site, page: Page) -> None:
    site.show("/", "chat", "room")
    await turn_clock(page)
    await page.goto(site.url())
    await connected(page, 2)
    await page.evaluate(
        """addEventListener("turbo-stream:gap", (event) => {
            if (event.target === document.querySelector("*:has(+ #chat)")) {
              event.preventDefault()
            }
        })"""
    )
    socket = await site.socket()

    await socket.send({"type": "gap", "stream": "id-chat", "position": "e1:0"})
    await socket.send({"type": "gap", "stream": "id-chat", "position": "e1:5"})
    site.log["chat"] = [*"12345"]
    await site.publish("chat", "live")
    await shows(page, "live")
    await let_pass(page, seconds=2)

    # It is live, and only what it did not want is missing.
    assert await texts(page) == ["live"]
    assert await fetched(page) == []


async def test_expired_name_refreshes_the_page(site: Site, page: Page) -> None:
    async def answer(socket: Socket, name: str, since: str) -> bool:
        if name != "chat~1":
            return False
        await socket.send({"type": "denied", "name": name, "reason": "expired"})
        return True

    site.answer = answer
    site.show("/", "chat")
    await record_events(page)
    await page.goto(site.url())
    noted = await events(page, 2)
    await site.publish("chat", "one")

    await shows(page, "one")
    await connected(page)

    assert [(event["kind"], event.get("reason")) for event in noted] == [
        ("denied", "expired"),
        ("connected", None),
    ]
    assert await attribute(page, "denied") is None
    assert site.requests == ["/", "/"]


async def test_what_was_typed_stays(site: Site, page: Page) -> None:
    form = """
        <form>
          <input id="text"><textarea id="area">kept</textarea>
          <input id="clean" value="VALUE">
          <input id="box" type="checkbox">
          <select id="choice"><option>a<option>b</select>
          <p id="rich" contenteditable="true">old</p>
        </form>
    """
    number = 0

    def view() -> str:
        nonlocal number
        number += 1
        return site.html("chat", body=form.replace("VALUE", str(number)))

    site.views["/"] = view
    await page.goto(site.url())
    await connected(page)
    await page.check("#box")
    await page.select_option("#choice", "b")
    await page.fill("#area", "changed")
    await page.fill("#rich", "rewritten")
    await page.focus("#text")
    await page.keyboard.type("half a sen")
    site.log["chat"] = ["lost"]

    await lose_log(site)
    await shows(page, "lost")
    await page.keyboard.type("tence")

    assert await page.input_value("#text") == "half a sentence"
    assert await page.input_value("#area") == "changed"
    assert await page.input_value("#clean") == "2"
    assert await page.is_checked("#box")
    assert await page.input_value("#choice") == "b"


async def test_editable_text_with_the_focus_stays(site: Site, page: Page) -> None:
    site.show("/", "chat", body='<p id="rich" contenteditable="true">old</p>')
    await page.goto(site.url())
    await connected(page)
    await page.fill("#rich", "half a sen")
    site.log["chat"] = ["lost"]

    await lose_log(site)
    await shows(page, "lost")

    assert await page.inner_text("#rich") == "half a sen"


async def test_refresh_that_somebody_asked_for_sets_fields_back(
    site: Site, page: Page
) -> None:
    """What is typed is only kept where nobody asked; Turbo's own way is left alone."""
    head = '<meta name="turbo-refresh-method" content="morph">'
    site.show("/", "chat", head=head, body='<input id="text">')
    await page.goto(site.url())
    await connected(page)
    await lose_log(site)
    await site.subscription("chat", 2)
    await connected(page)
    await page.wait_for_selector("html:not([aria-busy])")
    await page.fill("#text", "typed")

    await page.evaluate("Turbo.visit('/', { action: 'replace' })")
    await site.subscription("chat", 3)

    assert await page.input_value("#text") == ""


async def test_form_on_its_way_is_not_cancelled(site: Site, page: Page) -> None:
    form = '<form action="/post" method="post"><button>send</button></form>'
    site.show("/", "chat", body=form)
    site.show("/done", "chat", body='<p id="done">done</p>')
    arrived, released = asyncio.Event(), asyncio.Event()

    async def post(route: Route) -> None:
        arrived.set()
        await released.wait()
        await route.fulfill(status=303, headers={"Location": "/done"})

    await page.route("**/post", post)
    await record_events(page)
    await turn_clock(page)
    await page.goto(site.url())
    await connected(page)
    await page.click("button")
    await arrived.wait()

    await lose_log(site)
    await events(page, 2)
    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/post"]
    released.set()
    await page.wait_for_selector("#done")
    await connected(page)

    # The page that lost something is gone, and with it the reason to refresh.
    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/post"]


@pytest.mark.parametrize(
    ("status", "path"), [(303, "/done"), (422, "/post")], ids=["good", "invalid"]
)
async def test_answer_to_a_form_is_waited_for(
    site: Site, page: Page, status: int, path: str
) -> None:
    """Also after its head has come, and while Turbo shows it."""
    form = '<form action="/post" method="post"><button>send</button></form>'
    site.show("/", "chat", body=form)
    site.show("/done", "chat", body='<p id="done">done</p>')

    async def post(route: Route) -> None:
        if status == 303:
            await route.fulfill(status=303, headers={"Location": "/done"})
        else:
            invalid = site.html("chat", body='<p id="done">not valid</p>')
            await route.fulfill(status=422, body=invalid, content_type="text/html")

    await page.route("**/post", post)
    await record_events(page)
    await hold_body(page, path)
    await page.add_init_script(
        """
        addEventListener("turbo:before-render", (event) => {
          event.preventDefault()
          window.show = event.detail.resume
        })
        """
    )
    await turn_clock(page)
    await page.goto(site.url())
    await connected(page)
    await page.click("button")
    await page.wait_for_function("() => window.isReading")

    site.log["chat"] = ["lost"]
    await site.sockets[0].send({"type": "gap", "stream": "id-chat", "position": "e1:1"})
    await events(page, 2)
    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/post"]
    await page.evaluate("window.release()")
    await page.wait_for_function("() => window.show")
    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/post"]
    await page.evaluate("window.show()")
    await page.wait_for_selector("#done")
    await shows(page, "lost")

    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/post"]


async def test_server_in_trouble_does_not_cost_the_page(site: Site, page: Page) -> None:
    """Turbo would show the error instead of the page, or load it from nowhere."""
    site.show("/", "chat")
    await hurry(page)
    await page.goto(site.url())
    await connected(page)
    await mark(page)
    answers = ["502", "drop", "502", "502", "502", "502", "good"]

    async def trouble(route: Route) -> None:
        answer = answers.pop(0)
        if answer == "502":
            await route.fulfill(status=502, body="bad gateway")
        elif answer == "drop":
            await route.abort()
        else:
            await route.continue_()

    await page.route(site.url(), trouble)
    site.log["chat"] = ["lost"]

    await lose_log(site)

    await shows(page, "lost")
    assert answers == []
    assert await is_marked(page)


async def test_page_that_has_moved_is_followed(site: Site, page: Page) -> None:
    site.show("/", "chat")
    site.show("/login", body='<p id="login">log in</p>')
    await page.goto(site.url())
    await connected(page)
    await mark(page)

    async def redirect(route: Route) -> None:
        await route.fulfill(status=302, headers={"Location": site.url("/login")})

    await page.route(site.url(), redirect)
    await lose_log(site)

    await page.wait_for_selector("#login")
    assert page.url == site.url("/login")
    assert await is_marked(page)


async def test_page_out_of_a_cache_is_refreshed_a_few_times(
    site: Site, page: Page
) -> None:
    """It brings the same loss each time: five attempts, each later than the last."""

    async def answer(socket: Socket, name: str, since: str) -> bool:
        await socket.send(subscribed(name, position="e1:0", recovered=False))
        return True

    site.answer = answer
    html = site.html("chat")
    site.views["/"] = lambda: html
    warnings: list[str] = []
    page.on("console", lambda message: warnings.append(message.text))
    await hurry(page)
    await page.goto(site.url())

    async def given_up(times: int) -> None:
        while sum("refreshes do not help" in warning for warning in warnings) < times:
            await page.wait_for_event("console")

    await given_up(1)
    assert site.requests.count("/") == 6

    # The reload of a page that Turbo cannot morph would not make it begin again.
    await page.reload()
    await given_up(2)
    assert site.requests.count("/") == 7


async def test_page_does_not_give_up_before_it_shows_the_last_refresh(
    site: Site, page: Page
) -> None:
    """The last of five attempts helps."""

    async def answer(socket: Socket, name: str, since: str) -> bool:
        if len(site.asked("chat")) > 5:
            return False
        await socket.send(subscribed(name, position="e1:0", recovered=False))
        return True

    site.answer = answer
    site.show("/", "chat")
    await hurry(page)
    await page.add_init_script(
        """
        window.ends = []
        for (const name of ["gave-up", "healed"])
          document.addEventListener(`turbo-channels:${name}`, () => ends.push(name))
        """
    )

    await page.goto(site.url())
    await page.wait_for_function("() => window.ends.length > 0")

    assert await page.evaluate("ends") == ["healed"]
    assert site.requests.count("/") == 6
    await connected(page)


async def test_loss_after_a_recovery_is_refreshed_at_once(
    site: Site, page: Page
) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    for number in range(1, 4):
        await connected(page)
        site.log.setdefault("chat", []).append(f"lost {number}")
        position = f"e1:{number}"
        await site.sockets[0].send(
            {"type": "gap", "stream": "id-chat", "position": position}
        )
        await shows(page, *site.log["chat"])

    assert site.requests == ["/"] * 4
