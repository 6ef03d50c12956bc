"""A slow line between a client and a server."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

__all__ = ["slow_line"]

#: Bytes that the line carries in a second, and at a time.
RATE, PIECE = 400_000, 8_192


@asynccontextmanager
async def slow_line(port: int) -> AsyncIterator[int]:
    """Yield a port that leads to the given one; its answers come at 400 KB/s."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float
    ) -> None:
        with suppress(OSError), closing(writer):
            while data := await reader.read(PIECE):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / rate)

    async def accept(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream = socket.socket()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
        upstream.connect(("127.0.0.1", port))
        back, forth = await asyncio.open_connection(sock=upstream, limit=PIECE)
        for way in carry(reader, forth, math.inf), carry(back, writer, RATE):
            tasks.add(asyncio.ensure_future(way))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop
