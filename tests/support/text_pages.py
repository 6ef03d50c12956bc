"""Pages that show a growing text, without a browser."""

from __future__ import annotations

import asyncio
import html
import json
import re
from typing import Any
from urllib.request import urlopen

import websockets

from tests.support.clients import Staying, connect
from tests.support.servers import PATIENCE
from turbo.testing.elements import read_elements

__all__ = ["TextPage"]

SOURCE = re.compile(r'signed-stream-name="(.*?)" since="(.*?)"')
TEXT = re.compile(r'<div id="answer"(.*?)>(.*?)</div>', re.DOTALL)


class TextPage(Staying):
    """
    A page that does what ``text.js`` does, counts, and stays until its block ends.

    It is loaded over HTTP, and connects again after each cut, :attr:`away` seconds
    later.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._name = self._since = ""
        self._pieces: dict[int, str] = {}
        self._has_asked = False
        self.away = 0.0
        self.run = self.at = 0
        self.text = ""
        self.state = ""
        #: What the page has got: frames, and characters in them.
        self.frames = self.size = 0
        self.asked = self.loaded = self.subscribed = 0

    async def load(self) -> None:
        """Load the page anew, whatever it had."""
        self._name = ""
        self.cut()

    async def until_ended(self) -> None:
        await self.until(lambda: self.state in ("finished", "failed"))

    def _has_arrived(self) -> bool:
        return bool(self.subscribed)

    async def _stay(self) -> None:
        while True:
            try:
                if not self._name:
                    await asyncio.to_thread(self._load)
                await self._visit()
            except (OSError, websockets.WebSocketException):
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.away)

    def _load(self) -> None:
        with urlopen(f"{self._url}/text/", timeout=PATIENCE) as response:
            page = response.read().decode()
        source, text = SOURCE.search(page), TEXT.search(page)
        assert source is not None
        assert text is not None
        said = dict(re.findall(r'data-(\w+)="(.*?)"', text[1]))
        self.run, self.at = int(said.get("run", 0)), int(said.get("at", 0))
        self.state, self.text = said.get("state", ""), html.unescape(text[2])
        self._pieces.clear()
        self._since = source[2]
        self._name = source[1]
        self.loaded += 1

    async def _visit(self) -> None:
        name = self._name
        url = self._url.replace("http", "ws", 1)
        async with connect(f"{url}/ws/", origin=self._url) as socket:
            self._socket, self._has_asked = socket, False
            streams = [{"name": name, "since": self._since}]
            await socket.send(json.dumps({"type": "subscribe", "streams": streams}))
            try:
                async for text in socket:
                    if self._name != name:  # another page is loaded
                        return
                    await self._hear(json.loads(text))
            finally:
                self._socket = None

    async def _hear(self, frame: dict[str, Any]) -> None:
        self.frames += 1
        match frame["type"]:
            case "subscribed" if frame["recovered"]:
                self._since = frame["position"]
                self.subscribed += 1
                await self._ask()
            case "message":
                self._since = frame["position"] or self._since
                self.size += len(frame["data"])
                for element in read_elements(frame["data"]):
                    await self._grow(element.attributes, html.unescape(element.html))
            case "subscribed" | "gap":
                await self.load()
        await self._tell()

    async def _ask(self) -> None:
        if self._has_asked:
            return
        self._has_asked = True
        self.asked += 1
        asked = {"name": self._name, "id": "answer", "run": self.run, "at": self.at}
        await self._socket.send(json.dumps({"type": "text"} | asked))

    async def _grow(self, said: Any, text: str) -> None:
        run, at, state = int(said.get("run", 0)), int(said.get("at", 0)), None
        if "state" in said:
            self._has_asked, state = False, said["state"]
        if state == "none" or run < self.run or self.state == "finished":
            return
        if run > self.run:
            self.run, self.at, self.text, self.state = run, 0, "", ""
            self._pieces.clear()
        self._pieces[at] = max(text, self._pieces.get(at, ""), key=len)
        for place in sorted(self._pieces):
            if place > self.at:
                return await self._ask()
            self.text += self._pieces.pop(place)[self.at - place :]
            self.at = len(self.text)
        self.state = state or "writing"
        return None
