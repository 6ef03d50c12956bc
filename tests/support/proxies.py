"""A TCP proxy that keeps back what a client sends, as a bad network does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any

__all__ = ["Proxy"]

CHUNK = 65_536


class _Line:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self.requests_pass = asyncio.Event()
        self.answers_pass = asyncio.Event()
        self.answered = asyncio.Event()
        if not proxy.holds_requests:
            self.requests_pass.set()
        if not proxy.holds_answers:
            self.answers_pass.set()


class Proxy:
    """
    A proxy in front of a server on this machine: ``async with Proxy(port) as proxy``.

    What is kept back can be delivered even after the client has closed its connection.
    """

    def __init__(self, port: int) -> None:
        #: The port of the server to which new connections lead.
        self.upstream = port
        self._lines: set[_Line] = set()
        self._passing: set[asyncio.Future[list[None]]] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self.holds_requests = False
        self.holds_answers = False
        #: Set when something has been kept back.
        self.keeps = asyncio.Event()
        #: Where clients connect to.
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closed = True
        self._server.close()
        for both in self._passing:
            both.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def hold_requests(self) -> None:
        """Keep back what clients send from now on."""
        self.holds_requests = True
        for line in self._lines:
            line.requests_pass.clear()

    def hold_answers(self) -> None:
        """Keep back what the server answers from now on."""
        self.holds_answers = True
        for line in self._lines:
            line.answers_pass.clear()

    def admit(self) -> None:
        """Let new connections through; what is kept back stays so."""
        self.holds_requests = self.holds_answers = False
        self.keeps.clear()

    async def deliver(self) -> None:
        """Deliver the requests that are kept back; return when they are answered."""
        self.admit()
        late = [line for line in self._lines if not line.requests_pass.is_set()]
        for line in late:
            line.answered.clear()
            line.requests_pass.set()
        for line in late:
            await line.answered.wait()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        if not self._is_closed:
            await self._pass_both(reader, writer, up_reader, up_writer)
        for one in (up_writer, writer):
            one.close()
            with suppress(OSError):
                await one.wait_closed()
        self._serving.discard(task)

    async def _pass_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        line = _Line(self)
        self._lines.add(line)
        both = asyncio.gather(
            self._pass_requests(line, reader, up_writer),
            self._pass_answers(line, up_reader, writer),
        )
        self._passing.add(both)
        await asyncio.wait([both])
        if not both.cancelled():
            both.exception()  # or asyncio logs it, perhaps during a later test
        self._passing.discard(both)
        self._lines.discard(line)

    async def _pass_requests(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if not line.requests_pass.is_set():
                    self.keeps.set()
                await line.requests_pass.wait()
                writer.write(data)
        await line.requests_pass.wait()
        writer.write_eof()

    async def _pass_answers(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                line.answered.set()
                if not line.answers_pass.is_set():
                    self.keeps.set()
                await line.answers_pass.wait()
                if not writer.is_closing():
                    writer.write(data)
        line.answered.set()
        writer.close()
