"""Editors, date pickers and sortable lists from npm, on a page that is refreshed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.refreshing import AnyPage, LivePage
from tests.browser.scripted import Site
from tests.support.node import node_modules

pytestmark = pytest.mark.browser

PACKAGES = (
    "quill@2.0.3",
    "trix@2.1.19",
    "flatpickr@4.6.13",
    "sortablejs@1.15.7",
)
FILES = {
    "quill.js": "quill/dist/quill.js",
    "trix.js": "trix/dist/trix.umd.min.js",
    "flatpickr.js": "flatpickr/dist/flatpickr.js",
    "sortable.js": "sortablejs/Sortable.js",
}
OTHER = '<p id="p">OLD</p><button type="button" id="other">other</button>'

with_and_without_focus = pytest.mark.parametrize(
    "has_focus", [True, False], ids=["focus", "no focus"]
)


@pytest.fixture(scope="session")
def widgets() -> Path:
    return node_modules(*PACKAGES)


@pytest.fixture
def widget_site(site: Site, widgets: Path) -> Site:
    """The site, which serves the widgets, too."""
    site.files = {name: widgets / path for name, path in FILES.items()}
    return site


async def opened(
    site: Site, page: AnyPage, script: str, body: str, begin: str = "1"
) -> LivePage:
    """Open a page with a widget that is loaded, and begun, after the client."""
    loading = f'<script defer src="/static/{script}"></script>'
    live = LivePage(site, page, body + OTHER + loading)
    await live.open()
    await page.evaluate(begin)
    return live


async def refreshed(live: LivePage) -> None:
    """Let the server change something else on the page."""
    await live.refresh(live.body.replace("OLD", "new"))
    text = "document.querySelector('#p').textContent"
    assert await live.page.evaluate(text) == "new"


QUILL = 'void (window.quill = new Quill("#editor", { modules: { toolbar: ["bold"] } }))'


@with_and_without_focus
async def test_quill_keeps_text_and_tools(
    widget_site: Site, each_page: AnyPage, has_focus: bool
) -> None:
    body = '<form><div id="editor"><p>old</p></div></form>'
    live = await opened(widget_site, each_page, "quill.js", body, QUILL)
    await each_page.click(".ql-editor")
    await each_page.keyboard.press("End")
    await each_page.keyboard.type(" and n")
    if not has_focus:
        await each_page.focus("#other")

    await refreshed(live)
    if not has_focus:
        await each_page.click(".ql-editor")
        await each_page.keyboard.press("End")
    await each_page.keyboard.type("ew")

    assert await each_page.evaluate("quill.getText()") == "old and new\n"
    shown = "document.querySelector('.ql-editor').textContent"
    assert await each_page.evaluate(shown) == "old and new"
    tools = "document.querySelectorAll('.ql-toolbar .ql-bold').length"
    assert await each_page.evaluate(tools) == 1


async def test_quill_that_nobody_uses_goes_on_working(
    widget_site: Site, any_page: AnyPage
) -> None:
    body = '<form><div id="editor"><p>old</p></div></form>'
    live = await opened(widget_site, any_page, "quill.js", body, QUILL)

    await refreshed(live)
    await any_page.click(".ql-editor")
    await any_page.keyboard.press("End")
    await any_page.keyboard.type(" and new")

    assert await any_page.evaluate("quill.getText()") == "old and new\n"


@with_and_without_focus
async def test_trix_keeps_text_and_tools(
    widget_site: Site, any_page: AnyPage, has_focus: bool
) -> None:
    body = (
        '<form><input id="x" type="hidden" name="content" value="old">'
        '<trix-editor input="x"></trix-editor></form>'
    )
    live = await opened(widget_site, any_page, "trix.js", body)
    await any_page.wait_for_selector("trix-editor[contenteditable]")
    await any_page.click("trix-editor")
    await any_page.keyboard.press("End")
    await any_page.keyboard.type(" and n")
    if not has_focus:
        await any_page.focus("#other")

    await refreshed(live)
    if not has_focus:
        await any_page.click("trix-editor")
        await any_page.keyboard.press("End")
    await any_page.keyboard.type("ew")

    # The editor writes into the field with the next picture.
    field = "() => document.querySelector('#x').value.includes('old and new')"
    await any_page.wait_for_function(field)
    written = "document.querySelector('trix-editor').editor.getDocument().toString()"
    assert await any_page.evaluate(written) == "old and new\n"
    shown = "document.querySelector('trix-editor').textContent"
    assert await any_page.evaluate(shown) == "old and new"
    tools = "document.querySelectorAll('trix-toolbar button').length > 5"
    assert await any_page.evaluate(tools)


SHOWN = "[...document.querySelectorAll('form input')].map(({ value }) => value)"


@pytest.mark.parametrize("options", ["{}", "{ altInput: true }"], ids=["own", "other"])
async def test_flatpickr_keeps_the_calendar_and_the_date(
    widget_site: Site, any_page: AnyPage, options: str
) -> None:
    body = '<form><input id="date" name="date"></form>'
    begin = f'void (window.picker = flatpickr("#date", {options}))'
    live = await opened(widget_site, any_page, "flatpickr.js", body, begin)
    await any_page.evaluate(
        "void (picker.jumpToDate('2026-03-01'), picker.open(),"
        " picker.calendarContainer.style.position = 'fixed',"
        " picker.calendarContainer.style.top = 0)"
    )

    await refreshed(live)
    assert await any_page.evaluate(
        "picker.isOpen && picker.calendarContainer.isConnected"
    )
    await any_page.evaluate(
        "void document.querySelector('[aria-label=\"March 5, 2026\"]').click()"
    )
    await live.refresh()

    assert await live.value("#date") == "2026-03-05"
    shown = "picker.altInput ? picker.altInput.value : picker.input.value"
    assert "5" in await any_page.evaluate(shown)
    assert await any_page.evaluate("picker.input.isConnected")
    # A page that was saved is the server's again.
    assert await any_page.evaluate(
        "document.querySelectorAll('form input').length"
    ) == (1 if options == "{}" else 2)


ITEMS = "".join(f'<li id="{one}" style="height: 30px">{one}</li>' for one in "abc")
SORTABLE = """void new Sortable(document.querySelector("#list"), {
    forceFallback: true, fallbackOnBody: true, animation: 0, direction: "vertical" })"""
ORDER = "[...document.querySelectorAll('#list > li')].map(({ id }) => id).join('')"


async def drag(page: AnyPage, start: str, end: str) -> None:
    """Take one item to the place of another, and hold it there."""
    (x, y), (x2, y2) = [
        await page.evaluate(
            """(selector) => {
                const box = document.querySelector(selector).getBoundingClientRect()
                return [box.x + box.width / 2, box.y + box.height / 2]
            }""",
            one,
        )
        for one in (start, end)
    ]
    before = await page.evaluate(ORDER)
    await page.mouse.move(x, y)
    await page.mouse.down()
    for step in range(1, 13):
        await page.mouse.move(x + (x2 - x) * step / 10, y + (y2 - y) * step / 10)
    await page.wait_for_function(
        """(before) => [...document.querySelectorAll("#list > li")]
            .map(({ id }) => id).join("") !== before""",
        arg=before,
    )


async def test_a_list_is_sorted_while_the_page_is_refreshed(
    widget_site: Site, any_page: AnyPage
) -> None:
    body = f'<ul id="list">{ITEMS}</ul>'
    live = await opened(widget_site, any_page, "sortable.js", body, SORTABLE)
    await drag(any_page, "#a", "#c")

    live.body = live.body.replace("OLD", "new")
    version = live.version + 1
    await live.ask()
    assert await any_page.evaluate("document.querySelector('#p').textContent") == "OLD"
    order = await any_page.evaluate(ORDER)
    await any_page.mouse.up()
    await live.shows(version)

    assert await any_page.evaluate("document.querySelector('#p').textContent") == "new"
    assert order in ("bac", "bca")
    assert await any_page.evaluate(ORDER) == order
    ghosts = "document.querySelectorAll('.sortable-ghost, .sortable-fallback').length"
    assert await any_page.evaluate(ghosts) == 0


async def test_an_order_that_is_not_saved_yet_stays_and_lets_new_items_in(
    widget_site: Site, any_page: AnyPage
) -> None:
    body = f'<ul id="list">{ITEMS}</ul>'
    live = await opened(widget_site, any_page, "sortable.js", body, SORTABLE)
    await drag(any_page, "#a", "#c")
    await any_page.mouse.up()
    order = await any_page.evaluate(ORDER)

    await live.refresh(live.body.replace("</ul>", '<li id="d">d</li></ul>'))

    shown = await any_page.evaluate(ORDER)
    assert shown.replace("d", "") == order
    assert sorted(shown) == [*"abcd"]
