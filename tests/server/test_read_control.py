"""A client is read from only while nothing waits, and is looked at when it is not."""

from __future__ import annotations

import asyncio
import socket

from tests.support.servers import PATIENCE
from turbo.server.read_control import PIECE, SMALL, ReadControl, largest_frame


class Connection:
    """A server's side of one connection, whose other end is ``client``."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.parsed = b""
        self.held = False
        self.is_read = True
        self.takes = PIECE**2
        self.dropped = asyncio.Event()
        self.acted = asyncio.Event()
        self.read_control = ReadControl(self)

    def parse(self, data: bytes) -> None:
        self.parsed += data
        self.acted.set()
        self.held = len(self.parsed) >= self.takes
        self.read_control.go_on()  # as a write does that fills the buffer

    def is_held(self) -> bool:
        return self.held

    def stop_reading(self) -> None:
        self.is_read = False

    def read_on(self) -> None:
        self.is_read = True

    def fileno(self) -> int:
        return self.server.fileno()

    def hang_up(self) -> None:
        self.dropped.set()

    def close(self) -> None:
        self.read_control.close()
        self.client.close()
        self.server.close()


async def test_what_comes_is_parsed_at_once() -> None:
    connection = Connection()

    connection.read_control.take(b"a" * 3 * PIECE)

    assert (len(connection.parsed), connection.is_read) == (3 * PIECE, True)
    connection.close()


async def test_what_has_to_wait_is_neither_parsed_nor_read() -> None:
    connection = Connection()
    connection.takes = PIECE

    connection.read_control.take(b"a" * 3 * PIECE)
    connection.read_control.take(b"b")
    parsed, is_read = connection.parsed, connection.is_read
    connection.takes, connection.held = PIECE**2, False
    connection.read_control.go_on()

    assert (len(parsed), is_read) == (PIECE, False)
    assert connection.parsed == b"a" * 3 * PIECE + b"b"
    assert connection.is_read
    connection.close()


async def test_small_frames_have_a_rate() -> None:
    connection = Connection()
    for _ in range(SMALL):
        connection.read_control.count()
        connection.read_control.count(PIECE)

    connection.read_control.take(b"later")
    assert (connection.parsed, connection.is_read) == (b"", False)

    await asyncio.wait_for(connection.acted.wait(), PATIENCE)
    assert (connection.parsed, connection.is_read) == (b"later", True)
    connection.close()


async def test_who_leaves_while_not_read_from_is_noticed() -> None:
    """Whatever it sent before."""
    connection = Connection()
    connection.client.send(b"not read")
    connection.held = True
    connection.read_control.go_on()

    connection.client.close()

    await asyncio.wait_for(connection.dropped.wait(), PATIENCE)
    connection.close()


async def test_who_stays_is_not_dropped() -> None:
    connection = Connection()
    connection.held = True
    connection.read_control.go_on()

    for _ in range(3):
        connection.read_control._look()

    assert not connection.dropped.is_set()
    connection.close()


async def test_a_connection_that_is_lost_is_let_go() -> None:
    connection = Connection()
    connection.held = True
    connection.read_control.take(b"never")
    connection.read_control._look()
    connection.close()

    connection.held = False
    connection.read_control.go_on()
    connection.read_control._look()

    assert (connection.parsed, connection.dropped.is_set()) == (b"", False)


def test_the_largest_frame_is_one_that_consumers_take_in_any_script() -> None:
    assert largest_frame() == len(("\N{GRINNING FACE}" * 65_536).encode())
