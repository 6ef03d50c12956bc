"""A refresh leaves with the person what is theirs, and puts it on no other record."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route

from tests.browser.refreshing import AnyPage, LivePage
from tests.browser.scripted import Reply, Site
from tests.browser.watching import connected

pytestmark = pytest.mark.browser

SAVED = """(selector) => void document.querySelector(selector).dispatchEvent(
    new Event("turbo-channels:saved", { bubbles: true }))"""


def rows(*numbers: int, cell: str) -> str:
    """Return a table without ids; ``N`` in the cell is the number of its row."""
    body = "".join(
        f"<tr><td>invoice {number}</td><td>{cell.replace('N', str(number))}</td></tr>"
        for number in numbers
    )
    return f'<form action="/pay" method="post"><table>{body}</table></form>'


async def typed(page: AnyPage) -> dict[str, str]:
    """Return what is filled in, by the text of its row or list item."""
    found: dict[str, str] = await page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("tr, li")]
            .map((row) => [row.textContent.trim(), row.querySelector(
              "input:not([type=hidden]), textarea, select")])
            .filter(([, { type, checked, value }]) =>
              type === "checkbox" ? checked : value)
            .map(([text, { value }]) => [text, value]))"""
    )
    return found


# --- The right record


@pytest.mark.parametrize("after", [(9, 1, 2), (2, 1), (1,)], ids=str)
async def test_a_tick_stays_with_its_value(
    site: Site, page: Page, after: tuple[int, ...]
) -> None:
    cell = '<input type="checkbox" name="sel" value="N">'
    live = LivePage(site, page, rows(1, 2, cell=cell))
    await live.open()
    await page.check("[value='1']")

    await live.refresh(rows(*after, cell=cell))

    assert await typed(page) == {"invoice 1": "1"}


@pytest.mark.parametrize("after", [(9, 1, 2, 3), (2, 3)], ids=["added", "deleted"])
async def test_text_in_rows_without_ids_stays_in_its_row_or_is_given_up(
    site: Site, any_page: AnyPage, after: tuple[int, ...]
) -> None:
    cell = '<input name="comment">'
    live = LivePage(site, any_page, rows(1, 2, 3, cell=cell))
    await live.open()
    await any_page.fill("tr:nth-child(2) input", "late")

    await live.refresh(rows(*after, cell=cell))

    kept, lost = await typed(any_page), await live.lost()
    assert (kept, lost) in [
        ({"invoice 2": "late"}, []),
        ({}, [{"name": "comment", "value": "late"}]),
    ]


@pytest.mark.parametrize(
    "form",
    [
        '<form action="/rows/N/" method="post"><input name="comment"></form>',
        '<form action="/rows/" method="post"><input type="hidden" name="row" value="N">'
        '<input name="comment"></form>',
    ],
    ids=["action", "hidden field"],
)
@pytest.mark.parametrize("after", ["9123", "23", "321"])
async def test_text_in_a_form_for_each_row_stays_with_its_record(
    site: Site, page: Page, form: str, after: str
) -> None:
    def items(numbers: str) -> str:
        rows = (f"<li>row {n}{form.replace('N', n)}</li>" for n in numbers)
        return f"<ul>{''.join(rows)}</ul>"

    live = LivePage(site, page, items("123"))
    await live.open()
    await page.fill("ul:not(#chat) li:nth-child(2) input[name=comment]", "late")

    await live.refresh(items(after))

    assert await typed(page) == {"row 2": "late"}
    assert await live.lost() == []


def formset(*keys: int) -> str:
    """Return a formset as Django renders one: names and ids have the place in it."""
    forms = "".join(
        f'<li>record {key}<input type="hidden" name="form-{place}-id" value="{key}">'
        f'<input name="form-{place}-comment" id="id_form-{place}-comment"></li>'
        for place, key in enumerate(keys)
    )
    return (
        '<form method="post"><input type="hidden" name="form-TOTAL_FORMS" '
        f'value="{len(keys)}">{forms}</form>'
    )


@pytest.mark.parametrize("after", [(9, 1, 2, 3), (2, 3), (3, 2, 1)], ids=str)
async def test_text_in_a_formset_stays_with_the_key_of_its_form(
    site: Site, page: Page, after: tuple[int, ...]
) -> None:
    live = LivePage(site, page, formset(1, 2, 3))
    await live.open()
    await page.fill("#id_form-1-comment", "late")

    await live.refresh(formset(*after))

    assert await typed(page) == {"record 2": "late"}
    place = after.index(2)
    assert await live.value(f"[name=form-{place}-id]") == "2"
    assert await live.value(f"[name=form-{place}-comment]") == "late"


async def test_a_form_that_was_added_to_a_formset_is_sent_as_such(
    site: Site, page: Page
) -> None:
    """The server has added one with the same number."""
    live = LivePage(site, page, formset(1, 2))
    await live.open()
    await page.evaluate(
        """() => {
            document.querySelector("[name=form-TOTAL_FORMS]").value = 3
            document.querySelector("form").insertAdjacentHTML("beforeend",
              "<li><input type=hidden name=form-2-id><input name=form-2-comment></li>")
        }"""
    )
    await page.fill("[name=form-2-comment]", "late")

    await live.refresh(formset(1, 2, 3))

    sent = "[...new FormData(document.querySelector('form')).entries()]"
    assert await page.evaluate(f"{sent}.filter(([name]) => /-2-/.test(name))") == [
        ["form-2-id", ""],
        ["form-2-comment", "late"],
    ]
    await live.bar()


async def test_text_in_an_element_with_a_key_stays_with_it(
    site: Site, any_page: AnyPage
) -> None:
    def items(keys: str) -> str:
        return "".join(
            f'<li data-turbo-key="{key}">same text<input name="comment"></li>'
            for key in keys
        )

    live = LivePage(site, any_page, items("abc"))
    await live.open()
    await any_page.fill("[data-turbo-key=b] input", "late")

    await live.refresh(items("xabc"))

    assert await live.value("[data-turbo-key=b] input") == "late"
    assert await live.value("[data-turbo-key=a] input") == ""
    assert await live.lost() == []


@pytest.mark.parametrize(
    "row",
    [
        '<li id="row_N">row N<input name="comment"></li>',
        '<li>row N<form action="/rows/N/"><input name="comment"></form></li>',
        '<li data-turbo-key="N">row N<input name="comment"></li>',
    ],
    ids=["id", "form", "key"],
)
async def test_text_for_a_record_that_is_gone_is_given_up_aloud(
    site: Site, page: Page, row: str
) -> None:
    def items(numbers: str) -> str:
        return f"<ul>{''.join(row.replace('N', n) for n in numbers)}</ul>"

    live = LivePage(site, page, items("123"))
    await live.open()
    await page.fill("ul:not(#chat) li:nth-child(2) input", "late")

    await live.refresh(items("13"))

    assert await typed(page) == {}
    assert await live.lost() == [{"name": "comment", "value": "late"}]


async def test_a_field_that_moves_keeps_its_text_and_the_focus(
    site: Site, each_page: AnyPage
) -> None:
    live = LivePage(site, each_page, '<div id="a"></div><p><input id="text"></p>')
    await live.open()
    await each_page.fill("#text", "half a sen")

    await live.refresh('<p><input id="text"></p><p>new</p><div id="a"></div>')
    await each_page.keyboard.type("tence")

    assert await live.value("#text") == "half a sentence"


@pytest.mark.parametrize(
    ("kind", "keys", "rest", "value"),
    [("number", "-", "5", "-5"), ("date", "12", "312026", "2026-12-31")],
)
async def test_half_a_value_stays(
    site: Site, page: Page, kind: str, keys: str, rest: str, value: str
) -> None:
    """For scripts the field is empty until its value is whole."""
    body = f'<form><input type="{kind}" id="x"></form>'
    live = LivePage(site, page, body)
    await live.open()
    await page.focus("#x")
    await page.keyboard.type(keys)

    await live.refresh()
    await page.keyboard.type(rest)

    assert await live.value("#x") == value


async def test_a_field_outside_of_its_form_stays(site: Site, page: Page) -> None:
    body = '<form id="f" action="/post"></form><p><input form="f" name="x"></p>'
    live = LivePage(site, page, body)
    await live.open()
    await page.fill("[name=x]", "half a sen")

    await live.refresh(f"<p>new</p>{body}")

    assert await live.value("[name=x]") == "half a sen"


async def test_text_in_a_component_stays_with_its_record(
    site: Site, page: Page
) -> None:
    """Its field is in a shadow tree, where a refresh does not look."""

    def items(numbers: str) -> str:
        row = "<li>row N<my-field name=comment></my-field></li>"
        return f"<form action=/post>{''.join(row.replace('N', n) for n in numbers)}"

    await page.add_init_script(
        """
        customElements.define("my-field", class extends HTMLElement {
          static formAssociated = true
          constructor() {
            super()
            this.attachShadow({ mode: "open" }).innerHTML = "<input>"
          }
          get value() { return this.shadowRoot.firstChild.value }
          get form() { return this.closest("form") }
        })
        """
    )
    values = """[...document.querySelectorAll("my-field")]
        .map((one) => [one.parentNode.textContent, one.value])"""
    live = LivePage(site, page, items("123"))
    await live.open()
    await page.locator("my-field input").nth(1).fill("late")

    await live.refresh(items("9123"))
    shown = await page.evaluate(values)
    live.replies = [Reply(status=302, headers={"Location": "/login"})]
    site.show("/login", body="log in")
    await live.ask()
    await live.bar()

    rows = [["row 9", ""], ["row 1", ""], ["row 2", "late"], ["row 3", ""]]
    assert shown == await page.evaluate(values) == rows
    assert await live.lost() == []


async def test_a_choice_stays_though_the_server_makes_another(
    site: Site, page: Page
) -> None:
    def form(chosen: str) -> str:
        radios = (
            f'<input type="radio" name="one" value="{value}" '
            f"{'checked' if value == chosen else ''}>"
            for value in "abcd"
        )
        return f"<form>{''.join(radios)}</form>"

    live = LivePage(site, page, form("a"))
    await live.open()
    await page.check("[value=c]")

    await live.refresh(form("d"))

    checked = "[...document.querySelectorAll(':checked')].map(({ value }) => value)"
    assert await page.evaluate(checked) == ["c"]


@pytest.mark.parametrize(
    "row",
    [
        '<li>row N<input name="comment"></li>',
        '<li>row N<form action="/rows/N/"><input name="comment"></form></li>',
        '<li data-turbo-key="N">row N<input name="comment"></li>',
    ],
    ids=["text", "form", "key"],
)
async def test_a_field_with_the_focus_stays_with_its_record(
    site: Site, page: Page, row: str
) -> None:
    """Who has only begun would write to another record."""

    def items(numbers: str) -> str:
        return f"<ul>{''.join(row.replace('N', n) for n in numbers)}</ul>"

    live = LivePage(site, page, items("123"))
    await live.open()
    await page.focus("ul:not(#chat) li:nth-child(2) input")

    await live.refresh(items("9123"))
    await page.keyboard.type("late")

    assert await typed(page) in [{"row 2": "late"}, {}]


@pytest.mark.parametrize(
    ("row", "use"),
    [
        (
            "<form action=/delete/N/><button>Delete</button></form>",
            "document.querySelectorAll('form button')[1].focus()",
        ),
        ("<a href=/N/>Open</a>", "document.querySelectorAll('a')[1].focus()"),
        (
            "<dialog><form action=/delete/N/><button>Yes</button></form></dialog>",
            "document.querySelectorAll('dialog')[1].showModal()",
        ),
        (
            "<div popover><button autofocus>Yes</button></div>",
            "document.querySelectorAll('[popover]')[1].showPopover()",
        ),
    ],
    ids=["button", "link", "dialog", "popover"],
)
@pytest.mark.parametrize("after", ["9123", "31"])
async def test_what_is_in_use_stays_with_its_record(
    site: Site, page: Page, row: str, use: str, after: str
) -> None:
    """Who presses Enter means the record that was shown before."""

    def items(numbers: str) -> str:
        rows = (f"<li>row {n} {row.replace('N', n)}</li>" for n in numbers)
        return f"<ul>{''.join(rows)}</ul>"

    live = LivePage(site, page, items("123"))
    await live.open()
    await page.evaluate(use)

    await live.refresh(items(after))

    used = await page.evaluate(
        """[document.activeElement, ...document.querySelectorAll(
            "dialog[open], :popover-open")]
            .filter((one) => one !== document.body)
            .map((one) => one.closest("li").textContent.slice(0, 5))"""
    )
    assert set(used) == ({"row 2"} if "2" in after else set())


async def test_open_details_stay_with_their_record(site: Site, page: Page) -> None:
    def items(numbers: str) -> str:
        row = "<details><summary>More</summary>of N</details>"
        return "".join(row.replace("N", number) for number in numbers)

    live = LivePage(site, page, items("123"))
    await live.open()
    await page.click("details:nth-of-type(2) summary")

    await live.refresh(items("9123"))

    assert await page.locator("details[open]").all_inner_texts() == ["More\nof 2"]


@pytest.mark.parametrize("after", ["9123", "13"])
async def test_a_form_with_errors_stays_with_its_record(
    site: Site, page: Page, after: str
) -> None:
    field = '<input name="comment">'

    def items(numbers: str) -> str:
        rows = (
            f'<li>row {n}<form action="/rows/{n}/" method="post">{field}</form></li>'
            for n in numbers
        )
        return f"<ul>{''.join(rows)}</ul>"

    live = LivePage(site, page, items("123"))
    invalid = '/rows/2/" method="post"><b>too short</b><input name="comment" value="a">'
    answer = items("123").replace(f'/rows/2/" method="post">{field}', invalid)

    async def post(route: Route) -> None:
        html = live.html(answer)
        await route.fulfill(status=422, body=html, content_type="text/html")

    await page.route("**/rows/2/", post)
    await live.open()
    await page.fill("[action='/rows/2/'] input", "a")
    await page.press("[action='/rows/2/'] input", "Enter")
    await page.wait_for_selector("b")
    await connected(page, 2)

    await live.refresh(items(after))

    shown = await page.evaluate(
        """[...document.querySelectorAll("ul:not(#chat) li")].map((row) =>
            [row.textContent, row.querySelector("form").getAttribute("action"),
             row.querySelector("input").value])"""
    )
    assert shown == [
        [f"row {n}{'too short' if n == '2' else ''}", f"/rows/{n}/", "a" * (n == "2")]
        for n in after
    ]
    lost = [{"name": "comment", "value": "a"}]
    assert await live.lost() == ([] if "2" in after else lost)


# --- What was saved


async def test_a_field_that_was_saved_follows_the_server_again(
    site: Site, any_page: AnyPage
) -> None:
    live = LivePage(site, any_page, '<input id="name" value="old">')
    await live.open()
    await any_page.fill("#name", "mine")
    await any_page.evaluate(SAVED, "#name")

    await live.refresh('<input id="name" value="mine">')
    await live.refresh('<input id="name" value="theirs">')

    assert await live.value("#name") == "theirs"


@pytest.mark.parametrize(
    ("field", "act"),
    [
        ('<input id="f" type="checkbox">', "element.click()"),
        ('<select id="f"><option>a<option>b</select>', "element.value = 'b'"),
        ('<textarea id="f">old</textarea>', "element.value = 'mine'"),
    ],
    ids=["checkbox", "select", "textarea"],
)
async def test_fields_of_any_kind_that_were_saved_follow_the_server(
    site: Site, page: Page, field: str, act: str
) -> None:
    """The page of the server after the save is the one before somebody else's."""
    live = LivePage(site, page, f"<form>{field}</form>")
    await live.open()
    await page.evaluate(f"(() => {{ const element = f; {act} }})()")
    await page.evaluate(SAVED, "form")

    await live.refresh()

    state = "f.type === 'checkbox' ? f.checked : f.value"
    fresh = "(() => { const f = document.createElement('div'); "
    fresh += f"f.innerHTML = `{field}`; return f.firstElementChild }})()"
    untouched = await page.evaluate(f"((f) => {state})({fresh})")
    assert await page.evaluate(f"((f) => {state})(f)") == untouched


async def test_a_field_typed_into_after_it_was_saved_is_typed(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, '<input id="name" value="old">')
    await live.open()
    await page.fill("#name", "mine")
    await page.evaluate(SAVED, "#name")
    await page.fill("#name", "mine, too")

    await live.refresh('<input id="name" value="theirs">')

    assert await live.value("#name") == "mine, too"


UNTOUCHED = {
    "range": ('<input id="f" type="range">', '<input id="f" type="range" value="7">'),
    "range between steps": (
        '<input id="f" type="range" value="3.7" step="2" max="10">',
        '<input id="f" type="range" value="8" step="2" max="10">',
    ),
    "color": (
        '<input id="f" type="color">',
        '<input id="f" type="color" value="#102030">',
    ),
    "colour by name": (
        '<input id="f" type="color" value="#ABCDEF">',
        '<input id="f" type="color" value="#102030">',
    ),
    "datetime-local": (
        '<input id="f" type="datetime-local" value="2026-01-01 10:00:00.000">',
        '<input id="f" type="datetime-local" value="2027-02-02T11:30">',
    ),
    "number": (
        '<input id="f" type="number" value="none">',
        '<input id="f" type="number" value="5">',
    ),
    "textarea with CR": (
        '<textarea id="f">one&#13;&#10;two&#13;three</textarea>',
        '<textarea id="f">four</textarea>',
    ),
    "select": (
        '<select id="f"><option disabled>-<option>a<option>b</select>',
        '<select id="f"><option disabled>-<option>a<option selected>b</select>',
    ),
    "select with two selected": (
        '<select id="f"><option selected>a<option selected>b<option>c</select>',
        '<select id="f"><option>a<option>b<option selected>c</select>',
    ),
    "select in groups": (
        '<select id="f"><optgroup disabled><option>a</optgroup><option>b</select>',
        '<select id="f"><optgroup><option>a</optgroup><option>b<option selected>c'
        "</select>",
    ),
}


@pytest.mark.parametrize(("before", "after"), UNTOUCHED.values(), ids=UNTOUCHED)
async def test_a_field_that_nobody_touched_follows_the_server(
    site: Site, each_page: AnyPage, before: str, after: str
) -> None:
    live = LivePage(site, each_page, f"<form>{before}</form>")
    await live.open()

    await live.refresh(f"<form>{after}</form>")

    expected = await each_page.evaluate(
        """(html) => {
            const form = document.createElement("form")
            form.innerHTML = html
            return form.querySelector("#f").value
        }""",
        after,
    )
    assert await live.value("#f") == expected


async def test_a_value_that_the_browser_filled_in_stays(
    site: Site, each_page: AnyPage
) -> None:
    """As a password manager does: before the client runs, and without an event."""
    live = LivePage(site, each_page, '<input id="name"><input id="other">')
    await each_page.add_init_script(
        "addEventListener('DOMContentLoaded', () => {"
        " document.querySelector('#name')?.setRangeText('filled in') }, true)"
    )
    await live.open()

    await live.refresh('<input id="name"><input id="other" value="theirs">')

    assert await live.value("#name") == "filled in"
    assert await live.value("#other") == "theirs"


async def test_a_value_that_the_browser_restored_stays(
    site: Site, firefox_page: AnyPage
) -> None:
    """Firefox does so when the page is reloaded."""
    live = LivePage(site, firefox_page, '<form><input id="name" autocomplete="on">')
    await live.open()
    await firefox_page.fill("#name", "half a sen")
    await firefox_page.reload()
    await live.shows(live.version)
    assert await live.value("#name") == "half a sen"

    await live.refresh()

    assert await live.value("#name") == "half a sen"


async def test_a_form_that_was_sent_follows_the_server_again(
    site: Site, page: Page
) -> None:
    """A form whose answer changes nothing else on the page."""
    form = '<form action="/post" method="post"><input id="name" value="OLD"></form>'
    live = LivePage(site, page, form.replace("OLD", "old"))
    await page.route("**/post", lambda route: route.fulfill(status=204))
    await live.open()
    await page.fill("#name", "mine")

    async with page.expect_response("**/post"):
        await page.press("#name", "Enter")
    await page.wait_for_selector("form:not([aria-busy])")
    await live.refresh(form.replace("OLD", "mine"))
    await live.refresh(form.replace("OLD", "theirs"))

    assert await live.value("#name") == "theirs"


class Posting:
    """A form that the server accepts when the test says so."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.accepted = asyncio.Event()

    async def _answer(self, route: Route) -> None:
        await self.accepted.wait()
        await route.fulfill(status=204)

    async def send(self) -> None:
        await self.page.route("**/post", self._answer)
        async with self.page.expect_request("**/post"):
            await self.page.evaluate("document.querySelector('form').requestSubmit()")

    async def accept(self) -> None:
        self.accepted.set()
        await self.page.wait_for_selector("form:not([aria-busy])", state="attached")


async def test_what_was_typed_while_the_form_was_sent_is_not_saved(
    site: Site, page: Page
) -> None:
    body = (
        '<form action="/post" method="post"><input id="name" value="old">'
        '<div id="rich" contenteditable="true">old</div></form>'
    )
    live = LivePage(site, page, body)
    await live.open()
    posting = Posting(page)
    for selector in ("#name", "#rich"):
        await page.fill(selector, "mine")
    await posting.send()
    for selector in ("#name", "#rich"):
        await page.focus(selector)
        await page.keyboard.press("End")
        await page.keyboard.type(", too")
    await posting.accept()

    await live.refresh(body.replace("old", "mine"))

    assert await live.value("#name") == "mine, too"
    assert await page.inner_text("#rich") == "mine, too"


@pytest.mark.parametrize("away", [True, False], ids=["after another", "at once"])
async def test_what_was_there_and_is_chosen_stays(
    site: Site, any_page: AnyPage, away: bool
) -> None:
    """Somebody has looked at it, and decided."""
    select = "<select name=s><option>a<option V>b<option W>c</select>"
    body = f'<form action="/post" method="post">{select}<input name="t" OLD></form>'
    old = body.replace("V", "selected").replace("OLD", 'value="old"')
    live = LivePage(site, any_page, old)
    await live.open()
    await any_page.evaluate(
        """(away) => {
          for (const [field, ...values] of [["s", "a", "b"], ["t", "other", "old"]])
            for (const value of away ? values : values.slice(1)) {
              const element = document.querySelector(`[name=${field}]`)
              element.value = value
              element.dispatchEvent(new Event("input", { bubbles: true }))
            }
        }""",
        away,
    )

    await live.refresh(body.replace("W", "selected").replace("OLD", 'value="new"'))
    await live.refresh()

    assert await live.value("[name=s]") == "b"
    assert await live.value("[name=t]") == "old"


async def test_what_was_emptied_by_a_script_follows_the_server(
    site: Site, page: Page
) -> None:
    live = LivePage(site, page, '<input id="text" OLD>')
    await live.open()
    await page.fill("#text", "sent by a script")
    await page.evaluate("document.querySelector('#text').value = ''")

    await live.refresh('<input id="text" value="new">')

    assert await live.value("#text") == "new"


async def test_what_is_typed_again_after_it_was_saved_is_typed(
    site: Site, page: Page
) -> None:
    """As the next message with the same word, in a form that a script has emptied."""
    body = '<form action="/post" method="post"><input id="text"></form>'
    live = LivePage(site, page, body)
    await live.open()
    posting = Posting(page)
    await page.fill("#text", "yes")
    await posting.send()
    await posting.accept()
    await page.evaluate("document.querySelector('#text').value = ''")
    await page.fill("#text", "yes")

    await live.refresh()

    assert await live.value("#text") == "yes"


@pytest.mark.parametrize(
    "form",
    [
        '<form id="f" action="/post" method="post"></form><input form="f" id="x" OLD>',
        '<form action="/post" method="post"><input id="x" name="options" OLD></form>',
    ],
    ids=["outside", "named as a property"],
)
async def test_each_field_of_a_form_that_was_sent_follows_the_server_again(
    site: Site, page: Page, form: str
) -> None:
    live = LivePage(site, page, form.replace("OLD", 'value="old"'))
    await live.open()
    posting = Posting(page)
    await page.fill("#x", "mine")
    await posting.send()
    await posting.accept()

    await live.refresh(form.replace("OLD", 'value="theirs"'))

    assert await live.value("#x") == "theirs"
