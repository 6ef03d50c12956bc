"""A refresh leaves alone what the server has not changed, and moves no input."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site, append
from tests.browser.watching import SOURCE, connected, let_pass, turn_clock

pytestmark = pytest.mark.browser

MORPH = '<meta name="turbo-refresh-method" content="morph">'
REFRESH = '<turbo-stream action="refresh"></turbo-stream>'


class Live:
    """A page whose body a test changes, and refreshes for everybody."""

    def __init__(self, site: Site, page: Page) -> None:
        self.site, self.page = site, page
        self.body = ""
        self.version = 0

    async def open(self, body: str, head: str = MORPH) -> None:
        self.body = body

        def view() -> str:
            source = self.site.source("chat")
            version = f"<i id=version>{self.version}</i>"
            return self.site.html(head=head, body=source + self.body + version)

        self.site.views["/"] = view
        await self.page.add_init_script(
            """
            window.lost = []
            addEventListener("turbo-channels:input-lost", ({ detail }) => {
              window.lost.push([detail.name, detail.value])
            }, true)
            """
        )
        await self.page.goto(self.site.url())
        await connected(self.page)

    async def refresh(self, body: str | None = None) -> None:
        """Broadcast a refresh, and wait until the page shows what there is now."""
        self.body = self.body if body is None else body
        self.version += 1
        await self.site.publish("chat", REFRESH)
        await self.page.wait_for_function(
            """([version]) =>
                document.querySelector("#version")?.textContent === version &&
                !Turbo.navigator.currentVisit""",
            arg=[str(self.version)],
        )

    async def run(self, script: str) -> Any:
        return await self.page.evaluate(script)

    async def lost(self) -> Any:
        return await self.run("window.lost")


@pytest.fixture
def live(site: Site, page: Page) -> Live:
    return Live(site, page)


def rows(*numbers: int, row: str) -> str:
    items = "".join(row.replace("N", str(number)) for number in numbers)
    return f"<ul>{items}</ul>"


# --- Input belongs to its record


@pytest.mark.parametrize(
    "row",
    [
        "<li>Row N <form action=/rows/N/><input name=comment></form></li>",
        "<li>Row N <form><input type=hidden name=pk value=N>"
        "<input name=comment></form></li>",
        "<li data-turbo-key=N>Row N <input name=comment></li>",
        "<li id=row_N>Row N <input name=comment></li>",
        "<li>Row N <input name=comment></li>",
    ],
    ids=["action", "hidden", "key", "id", "text"],
)
@pytest.mark.parametrize("now", [(0, 1, 2, 3), (3, 2)], ids=str)
async def test_a_comment_stays_with_its_row(
    live: Live, row: str, now: tuple[int, ...]
) -> None:
    await live.open(rows(1, 2, 3, row=row))
    await live.page.locator("li", has_text="Row 2").locator("[name=comment]").focus()
    await live.page.keyboard.type("for 2")

    await live.refresh(rows(*now, row=row))
    await live.page.keyboard.type("!")

    comments = await live.run(
        "[...document.querySelectorAll('li')].map((row) =>"
        " [row.textContent.trim(), row.querySelector('[name=comment]').value])"
    )
    assert comments == [[f"Row {n}", "for 2!" if n == 2 else ""] for n in now]
    assert await live.lost() == []


async def test_a_form_for_another_record_is_left_alone(live: Live) -> None:
    def form(pk: int) -> str:
        return (
            f"<form><input type=hidden name=task value={pk}>"
            "<textarea name=answer id=id_answer></textarea></form>"
        )

    bar = "<template id=turbo-channels-changed>Changed</template>"
    await live.open(form(1) + bar)
    await live.page.fill("textarea", "for 1")

    await live.refresh(form(2) + bar)

    assert await live.run(
        "Object.fromEntries(new FormData(document.querySelector('form')))"
    ) == {"task": "1", "answer": "for 1"}
    await live.page.get_by_role("status").get_by_text("Changed").wait_for()


async def test_the_caret_stays(live: Live) -> None:
    await live.open("<form><input name=a><input name=b></form>")
    await live.page.focus("[name=a]")
    await live.page.keyboard.type("hello")
    await live.page.keyboard.press("ArrowLeft")

    await live.refresh("<form><p>new</p><input name=a><input name=b></form>")
    await live.page.keyboard.type("_")

    assert await live.page.input_value("[name=a]") == "hell_o"


# --- What the page has changed


async def test_what_a_script_has_added_stays(live: Live) -> None:
    body = "<div class=box>text</div>"
    await live.open(f"{body}<div class=box>other</div>")
    await live.run(
        """
        const box = document.querySelector(".box")
        box.innerHTML = "<div class=tools>tools</div><div class=area>text</div>"
        box.classList.add("built")
        const pop = document.createElement("div")
        pop.id = "pop"
        document.body.append(pop)
        """
    )

    await live.refresh(f"<div class=box>new</div>{body}<div class=box>changed</div>")

    assert await live.run(
        "[...document.querySelectorAll('.box')].map((box) => box.outerHTML)"
    ) == [
        '<div class="box">new</div>',
        '<div class="box built"><div class="tools">tools</div>'
        '<div class="area">text</div></div>',
        '<div class="box">changed</div>',
    ]
    assert await live.run("document.querySelector('#pop') !== null")


async def test_attributes_follow_whoever_changed_them(live: Live) -> None:
    await live.open("<p id=a class=x title=t>a</p>")
    await live.run(
        "Object.assign(document.querySelector('#a'), { className: 'y', hidden: true })"
    )

    await live.refresh("<p id=a class=x title=u>a</p>")
    first = await live.run("document.querySelector('#a').outerHTML")
    await live.refresh("<p id=a class=z title=u>a</p>")

    assert first == '<p id="a" class="y" title="u" hidden="">a</p>'
    assert (
        await live.run("document.querySelector('#a').outerHTML")
        == '<p id="a" class="z" title="u" hidden="">a</p>'
    )


async def test_attributes_stay_with_their_row(live: Live) -> None:
    """Also if nothing but its text tells which one it is."""
    row = "<li>Row N</li>"
    await live.open(rows(1, 2, 3, row=row))
    await live.run("document.querySelectorAll('li')[1].className = 'chosen'")

    await live.refresh(rows(9, 1, 2, 3, row=row))

    assert await live.page.locator(".chosen").all_inner_texts() == ["Row 2"]


async def test_what_has_an_id_of_a_script_stays(live: Live) -> None:
    """Widgets name their elements, and find them by these names."""
    body = "<section><form><label>Name</label><input name=text></form></section>"
    await live.open(body)
    await live.run(
        """
        document.querySelector("section").id = "made-1"
        document.querySelector("input").id = "made-2"
        window.field = document.querySelector("input")
        """
    )
    await live.page.fill("#made-2", "half a sen")

    await live.refresh(f"<p>new</p>{body}")
    await live.refresh(f"<p>newer</p>{body}")
    await live.page.keyboard.type("tence")

    assert await live.page.input_value("#made-1 #made-2") == "half a sentence"
    assert await live.run("window.field.isConnected")
    assert await live.lost() == []


async def test_a_template_follows_the_server(live: Live) -> None:
    body = "<div><template id=t>OLD</template><p>one</p></div>"
    await live.open(body)
    await live.run("document.querySelector('div').append('more')")

    await live.refresh(body.replace("OLD", "new"))

    assert await live.run("document.querySelector('#t').innerHTML") == "new"


async def test_text_of_a_script_stays_until_the_server_changes_it(live: Live) -> None:
    await live.open("<time>2026</time><p>one</p>")
    await live.run("document.querySelector('time').textContent = 'just now'")

    await live.refresh("<time>2026</time><p>two</p>")
    first = await live.page.inner_text("time")
    await live.refresh("<time>2027</time><p>two</p>")

    assert (first, await live.page.inner_text("time")) == ("just now", "2027")


async def test_an_order_of_the_page_stays_beside_new_rows(live: Live) -> None:
    row = "<li id=row_N>N</li>"
    await live.open(rows(1, 2, 3, row=row))
    await live.run(
        "document.querySelector('ul').prepend(document.querySelector('#row_3'))"
    )

    await live.refresh(rows(1, 2, 3, 4, row=row))
    first = await live.page.locator("li").all_inner_texts()
    await live.refresh(rows(1, 2, 3, 4, 5, row=row))
    second = await live.page.locator("li").all_inner_texts()
    await live.run(
        "document.querySelector('ul').dispatchEvent("
        "new CustomEvent('turbo-channels:saved', { bubbles: true }))"
    )
    await live.refresh(rows(5, 4, 3, 2, 1, row=row))

    assert first == ["3", "1", "2", "4"]
    assert second == ["3", "1", "2", "4", "5"]
    assert await live.page.locator("li").all_inner_texts() == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    "lists",
    [
        "<ul id=a><li id=c1>1</li><li>2</li></ul><ul id=b><li>3</li></ul>",
        "<ul><li>1</li><li>2</li></ul><ul><li>3</li></ul>",
    ],
    ids=["ids", "no ids"],
)
async def test_a_card_in_another_list_is_on_the_page_once(
    live: Live, lists: str
) -> None:
    """It stays where it was put until the server changes the list that it has left."""
    await live.open(f"<main>{lists}</main>")
    await live.run(
        """
        const [left, right] = document.querySelectorAll("main ul")
        right.append(left.firstElementChild)
        """
    )
    cards = live.page.locator("main li")
    more = lists.replace("<li>3", "<li>9</li><li>3")

    shown = []
    for now in (more, more, lists.replace("<li>2", "<li>8</li><li>2")):
        await live.refresh(f"<main>{now}</main><p>new</p>")
        shown.append("".join(await cards.all_inner_texts()))

    assert shown[:2] == ["2931", "2931"]
    assert shown[2] == "1823"


@pytest.mark.parametrize("name", ["id=dialog", ""], ids=["id", "no id"])
async def test_a_dialog_that_a_script_has_moved_stays_there(
    live: Live, name: str
) -> None:
    body = f"<main><dialog {name}><form><input id=text></form></dialog></main>"
    await live.open(body)
    await live.run(
        """
        const dialog = document.querySelector("dialog")
        document.body.append(dialog)
        dialog.showModal()
        """
    )
    await live.page.fill("#text", "half a sen")

    await live.refresh(f"<p>new</p>{body}")
    await live.page.keyboard.type("tence")

    assert await live.page.input_value("body > dialog:modal #text") == "half a sentence"
    assert await live.page.locator("dialog").count() == 1
    assert await live.lost() == []


async def test_rows_of_a_stream_follow_the_server(live: Live) -> None:
    """They are the server's, and go when the server does not have them any more."""
    await live.open("<ul id=list><li>one</li></ul>")
    await live.site.publish(
        "chat",
        '<turbo-stream action="append" target="list"><template><li>two</li>'
        "</template></turbo-stream>",
    )
    await live.page.wait_for_selector("text=two")

    await live.refresh()

    assert await live.page.locator("#list li").all_inner_texts() == ["one"]


async def test_a_search_is_not_saved(live: Live) -> None:
    """What was looked for stays beside what was found."""
    search = "<form action=/found data-turbo-frame=found><input name=q></form>"
    body = f"{search}<turbo-frame id=found></turbo-frame>"
    found = "<turbo-frame id=found><p>three</p></turbo-frame>"
    live.site.views["/found"] = lambda: live.site.html(body=found)
    await live.open(body)
    await live.page.fill("[name=q]", "three")
    await live.page.press("[name=q]", "Enter")
    await live.page.wait_for_selector("#found p")

    await live.refresh()

    assert await live.page.input_value("[name=q]") == "three"
    assert await live.page.inner_text("#found") == "three"


# --- Animations


async def test_an_element_that_leaves_is_waited_for(live: Live) -> None:
    """By the messages about it and those after them, and by a refresh."""
    await turn_clock(live.page)
    await live.open("<ul id=list><li id=a>old</li></ul><p id=b>b</p>")
    await live.run(
        """
        const released = new Promise((release) => (window.release = release))
        addEventListener("turbo:before-stream-render", ({ detail }) => {
          const { newStream, render } = detail
          if (newStream.action !== "remove") return
          detail.render = async (stream) => {
            await released
            await render(stream)
          }
        })
        """
    )
    live.body = "<ul id=list><li id=a>new</li></ul><p id=b>c</p>"
    live.version = 1
    await live.site.publish(
        "chat",
        '<turbo-stream action="remove" target="a"></turbo-stream>',
        '<turbo-stream action="update" target="b"><template>c</template>'
        "</turbo-stream>",
        '<turbo-stream action="append" target="list"><template><li id="a">new</li>'
        "</template></turbo-stream>",
        REFRESH,
        '<turbo-stream action="set" target="list"></turbo-stream>',
    )
    await live.page.wait_for_selector(f"{SOURCE}[since='e1:5']", state="attached")
    before = await live.page.locator("#list li, #b").all_inner_texts()
    await live.run("window.release()")
    await live.page.wait_for_function(
        "() => document.querySelectorAll('#list #a').length === 1"
        " && document.querySelector('#list').innerText === 'new'"
    )
    await let_pass(live.page, seconds=1)
    await live.page.wait_for_function(
        "() => document.querySelector('#version').textContent === '1'"
    )

    assert before == ["old", "c"]
    assert await live.page.locator("#list li").all_inner_texts() == ["new"]
    assert live.site.requests == ["/", "/"]


async def test_what_a_listener_renders_is_of_the_server(live: Live) -> None:
    """A refresh waits for it, and takes away what it has put in."""
    await turn_clock(live.page)
    await live.open("<ul id=list></ul>")
    await live.run(
        """
        const released = new Promise((release) => (window.release = release))
        addEventListener("turbo:before-stream-render", ({ detail }) => {
          if (detail.newStream.action !== "append") return
          detail.render = async ({ templateContent, targetElements }) => {
            await released
            targetElements[0].append(templateContent)
          }
        })
        """
    )
    live.version = 1
    await live.site.publish("chat", append("list", "early"), REFRESH)
    await live.page.wait_for_selector(f"{SOURCE}[since='e1:2']", state="attached")
    await let_pass(live.page, seconds=1)
    before = live.site.requests.copy()
    await live.run("window.release()")
    await live.page.wait_for_selector("text=early")
    await let_pass(live.page, seconds=1)
    await live.page.wait_for_function(
        "() => document.querySelector('#version').textContent === '1'"
    )

    assert before == ["/"]
    assert await live.page.locator("#list li").count() == 0


async def test_what_is_done_during_an_animation_stays(live: Live) -> None:
    """Elsewhere on the page it has nothing to do with the server."""
    await turn_clock(live.page)
    body = "<details>more</details><div id=text contenteditable></div>"
    await live.open(f"<div><p id=a>a</p></div>{body}")
    await live.run(
        """
        const released = new Promise((release) => (window.release = release))
        addEventListener("turbo:before-stream-render", ({ detail }) => {
          const { newStream, render } = detail
          if (newStream.action !== "remove") return
          detail.render = async (stream) => {
            window.isLeaving = true
            await released
            await render(stream)
          }
        })
        """
    )
    await live.site.publish(
        "chat", '<turbo-stream action="remove" target="a"></turbo-stream>'
    )
    await live.page.wait_for_function("() => window.isLeaving")
    await live.run("document.querySelector('details').open = true")
    await live.page.focus("#text")
    await live.page.keyboard.type("half a sen")
    await live.run("document.activeElement.blur()")
    await live.run("window.release()")
    await live.page.wait_for_selector("#a", state="detached")

    live.version, live.body = 1, f"<div></div><p>new</p>{body}"
    await live.site.publish("chat", REFRESH)
    await live.page.wait_for_selector(f"{SOURCE}[since='e1:2']", state="attached")
    await let_pass(live.page, seconds=1)
    await live.page.wait_for_function(
        "() => document.querySelector('#version').textContent === '1'"
    )

    assert await live.run("document.querySelector('details').open")
    assert await live.page.inner_text("#text") == "half a sen"
