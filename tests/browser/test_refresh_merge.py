"""A refresh leaves alone what the server has not changed, and moves no input."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site
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


async def test_a_tick_stays_with_its_value(live: Live) -> None:
    row = "<li><input type=checkbox name=sel value=N>Invoice N</li>"
    await live.open(f"<form>{rows(1, 2, row=row)}</form>")
    await live.page.check("[value='1']")

    await live.refresh(f"<form>{rows(9, 1, 2, row=row)}</form>")

    assert await live.page.locator("li:has(:checked)").all_inner_texts() == [
        "Invoice 1"
    ]


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
@pytest.mark.parametrize("now", [(0, 1, 2, 3), (2, 3), (3, 2)], ids=str)
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


async def test_input_of_a_deleted_row_is_reported(live: Live) -> None:
    row = "<li>Row N <form action=/rows/N/><input name=comment></form></li>"
    await live.open(rows(1, 2, row=row))
    await live.page.locator("[name=comment]").first.fill("for 1")

    await live.refresh(rows(2, row=row))

    assert await live.page.input_value("[name=comment]") == ""
    assert await live.lost() == [["comment", "for 1"]]


async def test_a_form_of_a_formset_stays_with_its_record(live: Live) -> None:
    def formset(*keys: int) -> str:
        forms = "".join(
            f"<p><input type=hidden name=f-{n}-id value={key} id=id_f-{n}-id>"
            f"<input name=f-{n}-note id=id_f-{n}-note></p>"
            for n, key in enumerate(keys)
        )
        total = f"<input type=hidden name=f-TOTAL_FORMS value={len(keys)}>"
        return f"<form>{total}{forms}</form>"

    await live.open(formset(7, 8))
    await live.page.fill("[name=f-1-note]", "for 8")

    await live.refresh(formset(6, 7, 8))

    assert await live.run(
        "Object.fromEntries(new FormData(document.querySelector('form')))"
    ) == {
        "f-TOTAL_FORMS": "3",
        **{"f-0-id": "6", "f-0-note": ""},
        **{"f-1-id": "7", "f-1-note": ""},
        **{"f-2-id": "8", "f-2-note": "for 8"},
    }
    assert await live.run("document.querySelector('[name=f-2-note]').id") == (
        "id_f-2-note"
    )


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


# --- What was saved


async def test_a_saved_field_follows_the_server(live: Live) -> None:
    await live.open("<input name=a value=old>")
    await live.page.fill("[name=a]", "mine")
    await live.run(
        "document.querySelector('[name=a]').dispatchEvent("
        "new CustomEvent('turbo-channels:saved', { bubbles: true }))"
    )

    await live.refresh("<input name=a value=theirs>")

    assert await live.page.input_value("[name=a]") == "theirs"


@pytest.mark.parametrize(
    "field",
    [
        "<input type=range name=a>",
        "<input type=color name=a>",
        "<input type=datetime-local name=a value='2026-11-30T10:00:00.000'>",
        "<textarea name=a>one&#13;&#10;two</textarea>",
        "<select name=a><option disabled>choose<option>b</select>",
        "<input type=number name=a value=' 5'>",
        "<input type=email name=a value=' a@b.c '>",
    ],
)
async def test_an_untouched_field_is_not_kept(live: Live, field: str) -> None:
    await live.open(f"<form>{field}</form>")

    await live.refresh("<form></form>")

    assert await live.lost() == []


# --- What the page has changed


async def test_an_open_dialog_stays_open_and_modal(live: Live) -> None:
    dialog = "<dialog id=d><button id=b>Close</button></dialog>"
    await live.open(f"{dialog}<p>one</p>")
    await live.run("document.querySelector('#d').showModal()")

    await live.refresh(f"{dialog}<p>two</p>")

    assert await live.run("document.querySelector('#d').matches(':modal')")
    assert await live.run("document.querySelector('#d').open")
    await live.page.click("#b")


async def test_details_and_popovers_stay_open(live: Live) -> None:
    body = "<details><summary>more</summary>text</details><div popover id=p>pop</div>"
    await live.open(f"<p>one</p>{body}")
    await live.page.click("summary")
    await live.run("document.querySelector('#p').showPopover()")

    await live.refresh(f"<p>two</p><p>three</p>{body}")

    assert await live.run("document.querySelector('details').open")
    assert await live.run("document.querySelector('#p').matches(':popover-open')")


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


async def test_editable_text_stays_without_the_focus(live: Live) -> None:
    await live.open("<p contenteditable=true>old</p><input name=a>")
    await live.page.click("p")
    await live.page.keyboard.type("mine ")
    await live.page.focus("[name=a]")
    typed = await live.page.inner_text("p")

    await live.refresh("<p contenteditable=true>new</p><input name=a>")

    assert await live.page.inner_text("p") == typed


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


async def test_a_form_of_a_stream_stays_while_it_is_used(live: Live) -> None:
    await live.open("<div id=panel></div>")
    await live.site.publish(
        "chat",
        '<turbo-stream action="update" target="panel"><template><form><input name=a>'
        "</form></template></turbo-stream>",
    )
    await live.page.fill("[name=a]", "typed")

    await live.refresh()
    first = await live.page.input_value("[name=a]")
    await live.page.fill("[name=a]", "")
    await live.run("document.activeElement.blur()")
    await live.refresh()

    assert first == "typed"
    assert await live.page.locator("[name=a]").count() == 0


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


async def test_an_animation_is_waited_for(live: Live) -> None:
    """By the messages after it, and by a refresh."""
    await turn_clock(live.page)
    await live.open("<ul id=list><li id=a>old</li></ul>")
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
    live.body = "<ul id=list><li id=a>new</li></ul>"
    live.version = 1
    await live.site.publish(
        "chat",
        '<turbo-stream action="remove" target="a"></turbo-stream>',
        '<turbo-stream action="append" target="list"><template><li id=a>new</li>'
        "</template></turbo-stream>",
        REFRESH,
        '<turbo-stream action="set" target="list"></turbo-stream>',
    )
    await live.page.wait_for_selector(f"{SOURCE}[since='e1:4']", state="attached")
    before = await live.page.locator("#list li").all_inner_texts()
    await live.run("window.release()")
    await live.page.wait_for_function(
        "() => document.querySelectorAll('#list #a').length === 1"
        " && document.querySelector('#list').innerText === 'new'"
    )
    await let_pass(live.page, seconds=1)
    await live.page.wait_for_function(
        "() => document.querySelector('#version').textContent === '1'"
    )

    assert before == ["old"]
    assert await live.page.locator("#list li").all_inner_texts() == ["new"]
    assert live.site.requests == ["/", "/"]
