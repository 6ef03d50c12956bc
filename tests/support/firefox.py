"""
Drive Firefox over WebDriver BiDi, which it speaks itself: nothing else is needed.

A :class:`FirefoxPage` has the methods of Playwright's page that tests of both browsers
use, with the same names and arguments.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.servers import PATIENCE

__all__ = ["BiDiError", "Firefox", "FirefoxPage", "find_firefox"]

#: Nothing but the pages of the test is loaded, and pages are kept for going back.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.chrome.site_icons": False,
    "browser.safebrowsing.update.enabled": False,
    "browser.sessionhistory.max_total_viewers": 8,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.disable_beforeunload": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,nothing",
    "toolkit.telemetry.enabled": False,
}
READY = "WebDriver BiDi listening on "
KEYS = {
    "Enter": "\ue007",
    "Tab": "\ue004",
    "End": "\ue010",
    "Escape": "\ue00c",
    "Backspace": "\ue003",
}
#: What Firefox says when the page goes while a script waits in it.
GONE = ("no such frame", "no such history entry", "unknown error", "no such node")


def find_firefox() -> str | None:
    """Return the path in ``TURBO_FIREFOX``, or of a Firefox on this machine."""
    names = ("firefox-esr", "firefox")
    paths = (os.environ.get("TURBO_FIREFOX"), *map(shutil.which, names))
    return next(filter(None, paths), None)


class BiDiError(Exception):
    """What Firefox answers to a command that it cannot execute."""


class Firefox:
    """A running Firefox and the connection that commands go through."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        #: Uncaught errors of scripts, of all pages.
        self.errors: list[str] = []
        #: Questions to the user, of all pages.
        self.questions: list[str] = []
        self.asked = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, program: str) -> AsyncIterator[Firefox]:
        """Start Firefox with a profile of its own, and end it."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            process = await _start(program, Path(profile))
            try:
                address = await _address(process)
                async with (
                    connect(address, max_size=None, ping_interval=None) as connection,
                    asyncio.TaskGroup() as tasks,
                ):
                    firefox = cls(connection)
                    reading = [
                        tasks.create_task(firefox._read()),
                        tasks.create_task(_drain(process)),
                    ]
                    await firefox._begin()
                    yield firefox
                    for task in reading:
                        task.cancel()
            finally:
                process.kill()
                await process.wait()

    async def _begin(self) -> None:
        prompts = {"unhandledPromptBehavior": {"default": "ignore"}}
        await self.send("session.new", capabilities={"alwaysMatch": prompts})
        events = ["log.entryAdded", "browsingContext.userPromptOpened"]
        await self.send("session.subscribe", events=events)

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": params}
        await self._connection.send(json.dumps(message))
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def _read(self) -> None:
        try:
            async for text in self._connection:
                self._receive(json.loads(text))
        except ConnectionClosed:
            pass

    def _receive(self, message: dict[str, Any]) -> None:
        if message["type"] == "event":
            return self._note(message["params"])
        answer = self._answers.pop(message["id"])
        if answer.done():
            return
        if message["type"] == "success":
            answer.set_result(message["result"])
        else:
            answer.set_exception(BiDiError(f"{message['error']}: {message['message']}"))

    def _note(self, event: dict[str, Any]) -> None:
        """Note an entry of the console or a question to the user."""
        if event.get("type") == "beforeunload":
            self.questions.append(event["type"])
            self.asked.set()
        elif event.get("type") == "javascript" and event["level"] == "error":
            self.errors.append(event["text"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[FirefoxPage]:
        """Open a page of a visitor who has no cookies yet."""
        user = (await self.send("browser.createUserContext"))["userContext"]
        tab = await self.send("browsingContext.create", type="tab", userContext=user)
        yield FirefoxPage(self, tab["context"])
        await self.send("browser.removeUserContext", userContext=user)


async def _start(program: str, profile: Path) -> asyncio.subprocess.Process:
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
        for name, value in PREFERENCES.items()
    ]
    (profile / "user.js").write_text("".join(lines))
    return await asyncio.create_subprocess_exec(
        program,
        *("--headless", "--no-remote", "--profile", str(profile)),
        *("--remote-debugging-port", "0", "about:blank"),
        # Firefox refuses a home directory that belongs to another user.
        env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = []
    async with asyncio.timeout(PATIENCE):
        async for line in process.stderr:
            said.append(line.decode())
            if said[-1].startswith(READY):
                return said[-1].removeprefix(READY).strip() + "/session"
    raise RuntimeError(f"Firefox does not start: {''.join(said)}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what Firefox says: it would wait while the pipe is full."""
    assert process.stderr is not None
    async for _ in process.stderr:
        pass


class FirefoxPage:
    """A tab."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox = firefox
        self._context = context
        self.keyboard = Keyboard(self)
        self.mouse = Mouse(self)

    async def goto(self, url: str) -> None:
        await self._send("browsingContext.navigate", url=url, wait="complete")

    async def reload(self) -> None:
        await self._send("browsingContext.reload", wait="complete")

    async def go_back(self) -> None:
        await self._send("browsingContext.traverseHistory", delta=-1)

    async def go_forward(self) -> None:
        await self._send("browsingContext.traverseHistory", delta=1)

    async def add_init_script(self, script: str) -> None:
        """Run a script in every document before those of the document."""
        await self._firefox.send(
            "script.addPreloadScript",
            functionDeclaration=f"() => {{ {script} }}",
            contexts=[self._context],
        )

    async def evaluate(self, expression: str, arg: Any = None) -> Any:
        """Return the value of an expression, or of a function that is called."""
        found = await self._call(
            f"""async (arg) => {{
                const value = ({expression})
                const result = typeof value === "function"
                  ? await value(JSON.parse(arg)) : await value
                return JSON.stringify(result) ?? "null"
            }}""",
            json.dumps(arg),
        )
        return json.loads(found["value"])

    async def wait_for_function(
        self, expression: str, *, arg: Any = None, timeout: float = 1_000 * PATIENCE
    ) -> None:
        """Wait until an expression or a function is true, also in the next page."""
        step = f"""(arg) => new Promise((resolve) => {{
            const end = Date.now() + 1_000
            const look = async () => {{
              const value = ({expression})
              const result = typeof value === "function" ? await value(arg) : value
              if (result || Date.now() > end) resolve(Boolean(result))
              else setTimeout(look, 20)
            }}
            look()
        }})"""
        async with asyncio.timeout(timeout / 1_000):
            while not await self._evaluate_in_any(step, arg):
                pass

    async def _evaluate_in_any(self, function: str, arg: Any) -> Any:
        try:
            async with asyncio.timeout(3):  # a page that is kept aside never answers
                return await self.evaluate(function, arg)
        except TimeoutError:
            return None
        except BiDiError as error:
            if not str(error).startswith(GONE):
                raise
            return None

    async def wait_for_selector(self, selector: str) -> None:
        await self.wait_for_function(
            "(selector) => document.querySelector(selector)", arg=selector
        )

    # --- The person

    async def focus(self, selector: str) -> None:
        await self._on(selector, "element.focus()")

    async def input_value(self, selector: str) -> str:
        return str(await self._on(selector, "element.value"))

    async def is_checked(self, selector: str) -> bool:
        return bool(await self._on(selector, "element.checked"))

    async def fill(self, selector: str, text: str) -> None:
        """Replace the text of a field by keys, as a person does."""
        await self.focus(selector)
        await self._on(selector, "element.select?.()")
        await (self.keyboard.type(text) if text else self.keyboard.press("Backspace"))

    async def click(self, selector: str) -> None:
        await self.mouse.move(*await self.middle(selector))
        await self.mouse.down()
        await self.mouse.up()

    async def middle(self, selector: str) -> tuple[float, float]:
        """Return where an element is, after it was scrolled into view."""
        x, y = await self._on(
            selector,
            """(element.scrollIntoView({ block: "nearest", behavior: "instant" }),
                (({ x, y, width, height }) => [x + width / 2, y + height / 2])(
                  element.getBoundingClientRect()))""",
        )
        return x, y

    async def check(self, selector: str) -> None:
        if not await self.is_checked(selector):
            await self.click(selector)

    async def stay(self) -> None:
        """Answer no to the question whether to leave the page."""
        async with asyncio.timeout(PATIENCE):
            await self._firefox.asked.wait()
        await self._send("browsingContext.handleUserPrompt", accept=False)

    async def select_option(self, selector: str, value: str) -> None:
        """Choose as the list of a menu does: headless Firefox shows none."""
        await self._on(
            selector,
            f"""(element.value = {json.dumps(value)},
                element.dispatchEvent(new Event("input", {{ bubbles: true }})),
                element.dispatchEvent(new Event("change", {{ bubbles: true }})))""",
        )

    async def _on(self, selector: str, expression: str) -> Any:
        await self.wait_for_selector(selector)
        return await self.evaluate(
            f"""(selector) => {{
                const element = document.querySelector(selector)
                return {expression}
            }}""",
            selector,
        )

    # --- The wire

    async def _call(self, function: str, arg: str) -> dict[str, Any]:
        answer = await self._firefox.send(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[{"type": "string", "value": arg}],
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        if answer["type"] == "exception":
            raise BiDiError(answer["exceptionDetails"]["text"])
        found: dict[str, Any] = answer["result"]
        return found

    async def act(self, **source: Any) -> None:
        """Perform the actions of an input device."""
        await self._send("input.performActions", actions=[source])

    async def _send(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._firefox.send(method, context=self._context, **params)


class Keyboard:
    """Types into what has the focus."""

    def __init__(self, page: FirefoxPage) -> None:
        self._page = page

    async def type(self, text: str) -> None:
        actions = [
            {"type": kind, "value": key}
            for key in text
            for kind in ("keyDown", "keyUp")
        ]
        await self._page.act(type="key", id="keyboard", actions=actions)

    async def press(self, key: str) -> None:
        await self.type(KEYS.get(key, key))


class Mouse:
    """Points, presses and drags."""

    def __init__(self, page: FirefoxPage) -> None:
        self._page = page

    async def move(self, x: float, y: float) -> None:
        await self._act(type="pointerMove", x=round(x), y=round(y))

    async def down(self) -> None:
        await self._act(type="pointerDown", button=0)

    async def up(self) -> None:
        await self._act(type="pointerUp", button=0)

    async def _act(self, **action: Any) -> None:
        await self._page.act(type="pointer", id="mouse", actions=[action])
