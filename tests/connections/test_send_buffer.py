"""The way out never blocks the sender, keeps the order, and is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.sessions import InstanceSessionWrapper
from django.test import override_settings

from tests.support.servers import PATIENCE
from turbo.connections.send_buffer import SendBuffer
from turbo.delivery.frame import Frame


class Server:
    """An ASGI server whose client reads only while ``reading`` is set."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.gone = False

    async def send(self, message: Any) -> None:
        if self.gone:
            raise OSError("the client is gone")
        self.sent.append(message["text"])
        await self.reading.wait()


class Pipe:
    """A server with the transport extension, full after ``room`` frames."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[str] = []
        self.aborted = False

    async def send(self, message: Any) -> None:
        self.sent.append("through send: " + message["text"])

    def write(self, frame: Frame) -> bool:
        self.sent.append(frame.text)
        self.room -= 1
        return self.room > 0

    def on_room(self, callback: Callable[[], None]) -> None:
        self.resume = callback

    def on_lost(self, callback: Callable[[], None]) -> None:
        self.lose = callback

    def abort(self) -> None:
        self.aborted = True


def send_buffer(
    send: Any, *, limit: int = 100, transport: Any = None
) -> tuple[SendBuffer, list[str]]:
    slow: list[str] = []
    scope = {"extensions": {"turbo.transport": transport} if transport else None}
    with override_settings(TURBO={"QUEUE_BYTES": limit}):
        box = SendBuffer(scope, send, on_slow=lambda: slow.append("slow"))
    return box, slow


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_reading_client_gets_frames_at_once_without_a_task() -> None:
    server = Server()
    box, _ = send_buffer(server.send)
    tasks = asyncio.all_tasks()

    box.put(Frame("a"))
    box.put(Frame("b"))

    assert server.sent == ["a", "b"]
    assert asyncio.all_tasks() == tasks


async def test_a_client_that_stops_reading_gets_the_rest_in_order_later() -> None:
    server = Server()
    box, _ = send_buffer(server.send)
    server.reading.clear()

    for text in "abc":
        box.put(Frame(text))
    await settle()
    assert (server.sent, box.waiting) == (["a"], 2)
    server.reading.set()
    await box.ready()
    box.put(Frame("d"))

    assert (server.sent, box.waiting) == (["a", "b", "c", "d"], 0)


async def test_ready_returns_at_once_when_nothing_waits() -> None:
    box, _ = send_buffer(Server().send)

    await asyncio.wait_for(box.ready(), PATIENCE)


class Plain:
    """An awaitable that is an iterator and nothing else, as that of Granian."""

    def __init__(self, event: asyncio.Event) -> None:
        self._waiting = asyncio.ensure_future(event.wait()).__await__()

    def __await__(self) -> Plain:
        return self

    def __iter__(self) -> Plain:
        return self

    def __next__(self) -> Any:
        return next(self._waiting)


async def test_a_server_may_have_an_awaitable_of_its_own() -> None:
    sent: list[str] = []
    reading = asyncio.Event()

    def send(message: Any) -> Plain:
        sent.append(message["text"])
        return Plain(reading)

    box, _ = send_buffer(send)
    box.put(Frame("a"))
    box.put(Frame("b"))
    await settle()
    assert (sent, box.is_blocked) == (["a"], True)
    reading.set()
    await asyncio.wait_for(box.ready(), PATIENCE)
    box.put(Frame("c"))

    assert sent == ["a", "b", "c"]
    await box.close()


async def test_several_may_wait_for_room() -> None:
    server = Server()
    box, _ = send_buffer(server.send)
    server.reading.clear()
    box.put(Frame("a"))

    waiting = asyncio.gather(box.ready(), box.ready())
    await settle()
    assert not waiting.done()
    server.reading.set()

    await asyncio.wait_for(waiting, PATIENCE)


async def test_over_its_limit_the_subscriber_is_slow_and_gets_no_more() -> None:
    server = Server()
    box, slow = send_buffer(server.send, limit=3)
    server.reading.clear()

    for text in ["a", "bb", "cc", "dd"]:
        box.put(Frame(text))

    assert (slow, box.waiting) == (["slow"], 0)
    await box.close()
    assert server.sent == ["a"]


async def test_a_client_that_is_gone_ends_the_sending_quietly() -> None:
    server = Server()
    server.gone = True
    box, slow = send_buffer(server.send)

    box.put(Frame("a"))
    server.gone = False
    box.put(Frame("b"))

    assert (server.sent, slow) == ([], [])


async def test_a_client_that_goes_while_it_is_waited_for() -> None:
    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        raise OSError("the client is gone")

    box, _ = send_buffer(send)

    box.put(Frame("a"))
    await asyncio.wait_for(box.ready(), PATIENCE)
    box.put(Frame("b"))

    assert box.waiting == 0


async def test_a_send_that_waits_for_several_things_in_turn() -> None:
    sent: list[str] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            sent.append(message["text"])

    box, _ = send_buffer(send)

    box.put(Frame("a"))
    box.put(Frame("b"))
    await box.ready()

    assert sent == ["a", "b"]


async def test_close_forgets_what_waits() -> None:
    server = Server()
    box, _ = send_buffer(server.send)
    server.reading.clear()
    box.put(Frame("a"))
    box.put(Frame("b"))
    await settle()

    await box.close()
    box.put(Frame("c"))

    assert server.sent == ["a"]
    await asyncio.wait_for(box.ready(), PATIENCE)


async def test_a_transport_is_written_to_until_it_is_full_and_when_it_has_room() -> (
    None
):
    pipe = Pipe(room=2)
    box, _ = send_buffer(pipe.send, transport=pipe)

    for text in "abcde":
        box.put(Frame(text))
    assert (pipe.sent, box.waiting) == (["a", "b"], 3)
    pipe.room = 2
    pipe.resume()
    assert (pipe.sent, box.waiting) == (["a", "b", "c", "d"], 1)
    pipe.room = 9
    pipe.resume()

    assert (pipe.sent, box.waiting) == (list("abcde"), 0)


async def test_what_stands_between_sees_every_frame() -> None:
    """A middleware, or a multiplexer of another package, with a ``send`` of its own."""
    pipe = Pipe(room=9)
    seen: list[str] = []

    async def send(message: Any) -> None:
        seen.append(message["text"])
        await pipe.send(message)

    box, _ = send_buffer(send, transport=pipe)
    box.put(Frame("a"))
    pipe.resume()
    box.put(Frame("b"))

    assert seen == ["a", "b"]
    assert pipe.sent == ["through send: a", "through send: b"]


async def test_channels_sessions_do_not_stand_in_the_way() -> None:
    """They put a ``send`` of their own in place, which is for HTTP."""
    pipe = Pipe(room=9)
    scope: dict[str, Any] = {"session": None}
    inner = InstanceSessionWrapper(scope, pipe.send)
    outer = InstanceSessionWrapper(scope, inner.send)

    box, _ = send_buffer(outer.send, transport=pipe)
    box.put(Frame("a"))

    assert pipe.sent == ["a"]


async def test_who_has_left_is_waited_for_no_longer() -> None:
    pipe = Pipe(room=1)
    box, slow = send_buffer(pipe.send, transport=pipe)
    told: list[str] = []
    box.on_lost = lambda: told.append("lost")
    box.put(Frame("a"))
    waiting = asyncio.ensure_future(box.ready())
    await settle()
    assert (waiting.done(), box.is_blocked) == (False, True)

    pipe.lose()
    box.put(Frame("b"))

    await asyncio.wait_for(waiting, PATIENCE)
    assert (pipe.sent, told, slow, box.waiting) == (["a"], ["lost"], [], 0)
    box.on_lost = None
    pipe.lose()  # which nobody need hear of


async def test_abort_is_for_servers_that_can() -> None:
    pipe = Pipe(room=1)

    send_buffer(pipe.send, transport=pipe)[0].abort()
    send_buffer(Server().send)[0].abort()

    assert pipe.aborted


class Kernel(Pipe):
    """A server with a real socket, whose other end reads what was written to it."""

    def __init__(self) -> None:
        super().__init__(room=1_000)
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.pipe = self
        self.descriptor = self.ours.fileno()
        self.below = 200
        self.waiting = b""
        self.is_lost = False

    def is_closing(self) -> bool:
        return self.is_lost

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def write_rest(self, data: bytes) -> bool:
        self.waiting += data
        return False

    def flush(self) -> None:
        """Send what waits, as a server does when its loop says that it can."""
        sent = self.ours.send(self.waiting)
        self.waiting = self.waiting[sent:]
        if not self.waiting:
            self.resume()

    def read(self) -> bytes:
        try:
            return self.theirs.recv(1_000_000)
        except BlockingIOError:
            return b""


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.ours.close()
    kernel.theirs.close()


async def test_a_frame_goes_into_the_socket_at_once(kernel: Kernel) -> None:
    box, _ = send_buffer(kernel.send, transport=kernel)

    box.put(Frame("a"))

    assert (kernel.read(), kernel.sent) == (b"\x81\x01a", [])


async def test_what_the_kernel_does_not_take_keeps_its_place(kernel: Kernel) -> None:
    """All that was put arrives, each byte once and in order, however slowly it goes."""
    box, slow = send_buffer(kernel.send, limit=1_000_000, transport=kernel)
    frames = [Frame(f"{number:04}" * 45) for number in range(3_000)]

    for frame in frames:
        box.put(frame)
    assert box.is_blocked
    read = b""
    while kernel.waiting or box.waiting:
        read += kernel.read()
        kernel.flush()

    assert read + kernel.read() == b"".join(frame.websocket for frame in frames)
    assert (slow, kernel.sent) == ([], [])


async def test_nothing_overtakes_what_waits_in_the_server(kernel: Kernel) -> None:
    box, _ = send_buffer(kernel.send, transport=kernel)
    kernel.waiting = b"ping"

    box.put(Frame("a"))

    assert (kernel.read(), kernel.sent) == (b"", ["a"])


async def test_larger_frames_are_left_to_the_transport(kernel: Kernel) -> None:
    """Which may compress them."""
    box, _ = send_buffer(kernel.send, transport=kernel)

    box.put(Frame("a" * 200))

    assert (kernel.read(), kernel.sent) == (b"", ["a" * 200])


async def test_a_descriptor_that_may_be_of_another_is_not_written_to(
    kernel: Kernel,
) -> None:
    box, _ = send_buffer(kernel.send, transport=kernel)
    kernel.is_lost = True

    box.put(Frame("a"))

    assert kernel.read() == b""


async def test_a_broken_socket_is_found_by_the_server(kernel: Kernel) -> None:
    box, _ = send_buffer(kernel.send, transport=kernel)
    kernel.theirs.close()

    box.put(Frame("a"))

    assert kernel.waiting == b"\x81\x01a"


async def test_what_stands_between_sees_frames_of_a_socket(kernel: Kernel) -> None:
    server = Server()
    box, _ = send_buffer(server.send, transport=kernel)

    box.put(Frame("a"))

    assert (server.sent, kernel.read()) == (["a"], b"")


async def test_after_the_end_nothing_goes_into_the_socket(kernel: Kernel) -> None:
    box, _ = send_buffer(kernel.send, transport=kernel)

    box.shut()
    box.put(Frame("a"))
    await box.close()
    box.put(Frame("b"))

    assert (kernel.read(), kernel.sent) == (b"", [])
