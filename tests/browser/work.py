"""
A site with records, and a person who works on a page of it.

The server and the person know what they have done; so a test can say at any moment what
the page has to show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from urllib.parse import parse_qs

from playwright.async_api import Page, Route

from tests.browser.refreshing import LivePage
from tests.browser.scripted import Reply, Site
from tests.browser.watching import let_pass
from tests.support.servers import PATIENCE

#: What a form may hold, as HTML; ``V`` is its value.
TEXTS = {
    "text": '<input name="text" value="V">',
    "number": '<input name="number" type="number" value="V">',
    "range": '<input name="range" type="range" max="9999" value="V">',
    "color": '<input name="color" type="color" value="V">',
    "date": '<input name="date" type="date" value="V">',
    "moment": '<input name="moment" type="datetime-local" value="V">',
    "time": '<input name="time" type="time" value="V">',
    "area": '<textarea name="area">V</textarea>',
}
CHOICES = "abcdef"
ITEMS = "uvwxyz"
ERRORS = [
    Reply("bad gateway", 502),
    Reply("forbidden", 403),
    Reply("error", 500),
    Reply(status=302, headers={"Location": "/login"}),
    Reply(status=0),
]
BEGIN = """
    window.quill = new Quill("#editor", { modules: { toolbar: ["bold"] } })
    window.sortable = new Sortable(document.querySelector("#items"), {
      forceFallback: true, fallbackOnBody: true, animation: 0, direction: "vertical",
      onEnd: () => fetch("/order", { method: "POST", body: order() }) })
    window.order = () => sortable.toArray().join("")
"""
#: What the page shows.
SHOWN = """() => {
    const { elements } = document.querySelector("#work")
    const valueOf = (name) => elements[name].value
    const rows = [...document.querySelectorAll("#rows tr")]
    return {
      fields: Object.fromEntries(NAMES.map((name) => [name, valueOf(name)])),
      box: elements.box.checked,
      many: [...elements.many.selectedOptions].map(({ value }) => value).join(""),
      rows: rows.map((row) =>
        [row.textContent.trim(), row.querySelector("input").value]),
      news: [...document.querySelectorAll("#news li")].map((item) => item.textContent),
      order: window.order(),
      written: window.quill.getText().trim(),
      isOpen: document.querySelector("#dialog").matches(":modal"),
      note: document.querySelector("#note").value,
      lost: window.lost.map(({ value }) => value).sort(),
    }
}""".replace("NAMES", str([*TEXTS, "radio", "select"]))

PLACE = """(selector) => {
    const element = document.querySelector(selector)
    element.scrollIntoView({ block: "center" })
    const { x, y } = element.getBoundingClientRect()
    return [x + 9, y + 9]
}"""
IS_HELD = """([x, y, selector]) =>
    document.elementFromPoint(x, y) === document.querySelector(selector)"""


class Server:
    """What the database holds, and what was posted."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.count = 0
        self.record = {name: self.value(name) for name in TEXTS}
        self.record |= {"radio": "a", "select": "a", "many": "a", "box": ""}
        self.rows = [self.name() for _ in range(4)]
        self.news: list[str] = []
        self.order = ITEMS
        self.posts: list[dict[str, str]] = []

    def name(self) -> str:
        self.count += 1
        return f"task {self.count}"

    def value(self, name: str) -> str:
        """Return a value that the field never had before."""
        self.count += 1
        count = self.count
        return {
            "number": f"{count}",
            "range": f"{count}",
            "color": f"#{count:06x}",
            "date": f"{2000 + count // 28:04}-02-{count % 28 + 1:02}",
            "moment": f"{2000 + count // 28:04}-02-{count % 28 + 1:02}T10:00",
            "time": f"{count // 60 % 24:02}:{count % 60:02}",
        }.get(name, f"value {count}")

    def html(self) -> str:
        return f"""
            {self.form()}
            <form action="/rows" method="post">
            <table id="rows">{self._rows()}</table></form>
            <ul id="news">{"".join(f"<li>{item}</li>" for item in self.news)}</ul>
            <ul id="items">{"".join(map(item, self.order))}</ul>
            <div><div id="editor"></div></div>
            <dialog id="dialog"><form method="dialog"><input id="note" name="note">
            <button>close</button></form></dialog>
            <script defer src="/static/quill.js"></script>
            <script defer src="/static/sortable.js"></script>
        """

    def form(self) -> str:
        record = self.record
        texts = (html.replace("V", record[name]) for name, html in TEXTS.items())
        radios = (
            f'<input name="radio" type="radio" value="{one}" '
            f"{'checked' if one == record['radio'] else ''}>"
            for one in CHOICES
        )
        return (
            '<form id="work" action="/save" method="post" '
            f'data-save="{len(self.posts)}">'
            f"{''.join(texts)}{''.join(radios)}"
            f'<select name="select">{options(record["select"])}</select>'
            f'<select name="many" multiple>{options(record["many"])}</select>'
            f'<input name="box" type="checkbox" {"checked" if record["box"] else ""}>'
            "<button>save</button></form>"
        )

    def _rows(self) -> str:
        cell = '<input name="comment">'
        return "".join(f"<tr><td>{row}</td><td>{cell}</td></tr>" for row in self.rows)

    def save(self, body: str) -> str:
        """Take a form, and answer with a stream that shows what was saved."""
        posted = {name: "".join(all_) for name, all_ in parse_qs(body).items()}
        self.posts.append(posted)
        self.record |= {"many": "", "box": ""} | posted
        return (
            '<turbo-stream action="replace" target="work"><template>'
            f"{self.form()}</template></turbo-stream>"
        )


def options(chosen: str) -> str:
    return "".join(
        f"<option {'selected' if one in chosen else ''}>{one}</option>"
        for one in CHOICES
    )


def item(one: str) -> str:
    return f'<li id="{one}" data-id="{one}" style="height: 20px">{one}</li>'


class Work:
    """A person at a page, and all that happens to it meanwhile."""

    def __init__(self, site: Site, page: Page, random: Random) -> None:
        self.site, self.page, self.random = site, page, random
        self.server = Server(random)
        self.live = LivePage(site, page, "")
        site.show("/login", body="log in")
        #: What the person has typed and not saved.
        self.fields: dict[str, str] = {}
        self.comments: dict[str, str] = {}
        self.written = ""
        self.note = ""
        self.is_open = False
        self.lost: list[str] = []
        self.sent: list[dict[str, str]] = []
        self.disturbances: list[Callable[[], Awaitable[None]]] = []

    async def open(self) -> None:
        self._render()
        await self.page.route("**/save", self._save)
        await self.page.route("**/order", self._order)
        await self.live.open()
        await self.page.evaluate(f"() => {{ {BEGIN} }}")
        await self.write()

    def _render(self) -> None:
        self.live.body = self.server.html()

    async def _save(self, route: Route) -> None:
        answer = self.server.save(route.request.post_data or "")
        self._render()
        await self.disturb()
        mime = "text/vnd.turbo-stream.html"
        await route.fulfill(status=200, body=answer, content_type=mime)

    async def _order(self, route: Route) -> None:
        self.server.order = route.request.post_data or ""
        self._render()
        await route.fulfill(status=204)

    # --- The others

    async def disturb(self) -> None:
        """Let the next thing happen, if it is time."""
        if self.disturbances and self.random.random() < 0.5:
            await self.disturbances.pop()()

    async def refresh(self) -> None:
        self._change()
        await self.live.ask()

    async def fail(self) -> None:
        """Broadcast a refresh that meets an error."""
        self.live.replies.append(self.random.choice(ERRORS))
        await self.refresh()

    async def lose(self) -> None:
        """Lose the log, so that the page heals itself."""
        self._change()
        self.site.epoch += "x"
        for socket in self.site.open_sockets():
            for stream in dict.fromkeys(socket.streams.values()):
                tip = len(self.site.log.get(stream, []))
                position = f"{self.site.epoch}:{tip}"
                await socket.send(
                    {"type": "gap", "stream": f"id-{stream}", "position": position}
                )

    async def cut(self) -> None:
        self._change()
        for socket in self.site.open_sockets():
            socket.cut()
        await self.live.ask()

    def _change(self) -> None:
        """Let somebody else change something."""
        server, random = self.server, self.random
        server.news.append(f"news {len(server.news)}")
        name = random.choice([*TEXTS, "radio", "select", "many"])
        if name in TEXTS:
            server.record[name] = server.value(name)
        elif name not in self.fields:
            server.record[name] = random.choice(CHOICES)
        if random.random() < 0.3:
            server.rows.insert(random.randrange(len(server.rows) + 1), server.name())
        if random.random() < 0.3 and len(server.rows) > 3:
            gone = server.rows.pop(random.randrange(len(server.rows)))
            if gone in self.comments:
                self.lost.append(self.comments.pop(gone))
        self._render()

    # --- The person

    async def type_text(self) -> None:
        name = self.random.choice(["text", "area"])
        value = self.fields[name] = self.server.value(name)
        await self.page.fill(f"#work [name={name}]", value[:3])
        await self.disturb()
        await self.page.keyboard.type(value[3:])

    async def pick(self) -> None:
        name = self.random.choice([one for one in TEXTS if one not in ("text", "area")])
        value = self.fields[name] = self.server.value(name)
        await self.page.fill(f"#work [name={name}]", value)

    async def choose(self) -> None:
        name = self.random.choice(["radio", "select", "many"])
        field = f"#work [name={name}]"
        shown = (await self.page.evaluate(SHOWN))["fields"].get(name)
        taken = f"{shown}{self.server.record[name]}"
        value = self.random.choice([one for one in CHOICES if one not in taken])
        self.fields[name] = value
        if name == "radio":
            await self.page.check(f"{field}[value={value}]")
        else:
            await self.page.select_option(field, value)

    async def tick(self) -> None:
        is_on = not await self.page.is_checked("#work [name=box]")
        await self.page.set_checked("#work [name=box]", is_on)
        self.fields["box"] = "on" if is_on else ""

    async def comment(self) -> None:
        """Write into a row that has been there and still is."""
        rows = (await self.page.evaluate(SHOWN))["rows"]
        known = [text for text, _ in rows if text in self.server.rows]
        if not known:
            return
        row, value = self.random.choice(known), self.server.value("comment")
        field = self.page.locator("tr", has=self.page.get_by_text(row, exact=True))
        if row not in self.server.rows:
            return
        self.comments[row] = value
        comments: dict[str, str] = {}
        while value not in comments.values() and row in self.comments:
            await field.locator("input").fill(value)
            comments = dict((await self.page.evaluate(SHOWN))["rows"])
        assert comments.get(row) == self.comments.get(row)
        await self.disturb()

    async def write(self) -> None:
        text = self.server.value("text")
        await self.page.click(".ql-editor")
        await self.page.keyboard.press("ControlOrMeta+End")
        for part in (text[:2], text[2:]):
            await self.page.keyboard.type(part)
            self.written += part
            await self.disturb()

    async def use_dialog(self) -> None:
        await self.page.evaluate("document.querySelector('#dialog').showModal()")
        self.is_open = True
        await self.disturb()
        self.note = self.server.value("note")
        await self.page.fill("#note", self.note[:3])
        await self.disturb()
        await self.page.keyboard.type(self.note[3:])
        await self.check()
        await self.page.click("#dialog button")
        self.is_open = False

    async def sort(self) -> None:
        """Take the first item down, and let go of it later."""
        x, y = await self._take("#items li")
        for part in (2, 10, 20, 50, 70):
            await self.page.mouse.move(x, y + part)
        await self.disturb()
        async with self.page.expect_request_finished(
            lambda request: request.url.endswith("/order")
        ):
            await self.page.mouse.up()

    async def _take(self, selector: str) -> tuple[float, float]:
        """Press the pointer on an element, which may move until it is pressed."""
        while True:
            x, y = await self.page.evaluate(PLACE, selector)
            await self.page.mouse.move(x, y)
            await self.page.mouse.down()
            if await self.page.evaluate(IS_HELD, [x, y, selector]):
                return x, y
            await self.page.mouse.up()

    async def submit(self) -> None:
        number = len(self.server.posts)
        self.sent.append(dict(self.fields))
        await self.page.click("#work button")
        await self.page.wait_for_selector(f"#work[data-save='{number + 1}']")
        self.fields.clear()

    # --- What has to be

    async def check(self) -> None:
        """Wait until the page has followed the server, and compare everything."""
        self.live.replies.clear()
        version = self.live.version + 1
        await self.live.ask()
        async with asyncio.timeout(PATIENCE):
            while not await self._has(version):
                await let_pass(self.page, seconds=1)
        shown = await self.page.evaluate(SHOWN)
        expected = self._expected()
        wrong = {
            name: (shown[name], want)
            for name, want in expected.items()
            if shown[name] != want
        }
        assert not wrong, wrong

    async def _has(self, version: int) -> bool:
        return bool(
            await self.page.evaluate(
                """(version) =>
                    Number(document.querySelector("#version").textContent) >= version &&
                    !Turbo.navigator.currentVisit""",
                version,
            )
        )

    def _expected(self) -> dict[str, Any]:
        record = self.server.record | self.fields
        return {
            "fields": {name: record[name] for name in [*TEXTS, "radio", "select"]},
            "box": record["box"] != "",
            "many": record["many"],
            "rows": [[row, self.comments.get(row, "")] for row in self.server.rows],
            "news": self.server.news,
            "order": self.server.order,
            "written": self.written,
            "isOpen": self.is_open,
            "note": self.note,
            "lost": sorted(self.lost),
        }
