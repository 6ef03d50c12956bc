"""The life of a socket: how it opens, what ends it, and that it ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.connections.test_send_buffer import settle
from tests.support.servers import PATIENCE
from turbo import metrics
from turbo.connections.budgets import ConnectionBudget
from turbo.connections.websocket import Endpoint, SocketState, WebSocket
from turbo.delivery.frame import Frame

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}


def frame(text: str) -> dict[str, str]:
    return {"type": "websocket.receive", "text": text}


def sent(text: str) -> dict[str, str]:
    return {"type": "websocket.send", "text": text}


def close(code: int, **reason: str) -> dict[str, Any]:
    return {"type": "websocket.close", "code": code, **reason}


class Transport:
    """What a server offers that lets us drop a connection."""

    send: Any = None

    def __init__(self) -> None:
        self.aborted = False

    def write(self, frame: Frame) -> bool:
        raise AssertionError("its send is not the server's own")

    def on_room(self, callback: Callable[[], None]) -> None: ...

    def on_lost(self, callback: Callable[[], None]) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class Server:
    """A server with one client, which reads while ``reads`` is set."""

    def __init__(self, make: Callable[..., Endpoint]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self._writes = asyncio.Event()
        self.transport = Transport()
        extensions = {"turbo.transport": self.transport}
        scope = {"type": "websocket", "extensions": extensions}
        self.socket = WebSocket(scope, self.frames.get, self._send)
        self.task = asyncio.ensure_future(self.socket.serve(make))
        self.say(CONNECT)

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.frames.put_nowait(message)

    def leave(self, **code: int) -> None:
        self.say({"type": "websocket.disconnect", **code})

    async def is_blocked(self) -> None:
        """Return when something waits for the client to read."""
        await asyncio.wait_for(self._writes.wait(), PATIENCE)

    async def ended(self) -> list[dict[str, Any]]:
        """Return what was sent, when the connection has ended."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(self.task, return_exceptions=True)
        return self.sent

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self._writes.set()
            await self.reads.wait()
        self.sent.append(message)


class Echo(Endpoint):
    """Lets everybody in and repeats each frame."""

    def __init__(self, scope: Any, socket: WebSocket) -> None:
        self.socket = socket
        self.left: list[int] = []
        self.acts = asyncio.Event()
        self._budget = ConnectionBudget({})

    @property
    def websocket_budget(self) -> ConnectionBudget:
        return self._budget

    async def websocket_connect(self, message: Any) -> None:
        await self.socket.accept()

    async def websocket_receive(self, message: Any) -> None:
        match message["text"]:
            case "fail":
                raise LookupError("a bug")
            case "hang":
                self.acts.set()
                await asyncio.Event().wait()
            case "end":
                self.socket.end(4001)
                await asyncio.Event().wait()
            case "close":
                await self.socket.close(4000, "enough")
                self.socket.put(Frame("late"))
            case text:
                self.socket.put(Frame(text))

    async def websocket_disconnect(self, message: Any) -> None:
        self.left.append(message["code"])


class Finishing(Echo):
    """What it does for a client may go on for a moment."""

    websocket_finishes = True


@pytest.fixture
def made() -> list[Echo]:
    return []


@pytest.fixture
def serve(made: list[Echo]) -> Callable[..., Server]:
    def start(kind: type[Echo] = Echo) -> Server:
        def make(scope: Any, socket: WebSocket) -> Echo:
            made.append(kind(scope, socket))
            return made[-1]

        return Server(make)

    return start


Serve = Callable[..., Server]


async def test_a_client_that_leaves_is_told_nothing(
    serve: Serve, made: list[Echo]
) -> None:
    server = serve()
    server.say(frame("a"))
    server.leave(code=1001)

    assert await server.ended() == [ACCEPT, sent("a")]
    assert (server.socket.state, made[0].left) == (SocketState.GONE, [1001])
    assert not server.transport.aborted


async def test_a_client_that_leaves_without_a_code(
    serve: Serve, made: list[Echo]
) -> None:
    server = serve()
    server.leave()

    await server.ended()
    assert made[0].left == [1005]


async def test_a_server_that_ends_before_a_client_was_let_in() -> None:
    class Waiting(Echo):
        async def websocket_prepare(self) -> None:
            await asyncio.Event().wait()

    server = Server(Waiting)
    await settle()
    server.task.cancel()

    assert await server.ended() == [close(1012)]


async def test_a_client_that_leaves_before_it_was_let_in() -> None:
    class Waiting(Echo):
        async def websocket_prepare(self) -> None:
            await asyncio.Event().wait()

    server = Server(Waiting)
    await settle()
    server.socket._lose()

    assert await server.ended() == []


async def test_what_is_put_before_the_acceptance_follows_it() -> None:
    class Early(Echo):
        async def websocket_connect(self, message: Any) -> None:
            self.socket.put(Frame("early"))
            await self.socket.accept("json", [(b"x", b"1")])

    server = Server(Early)
    server.leave()

    accept = ACCEPT | {"subprotocol": "json", "headers": [(b"x", b"1")]}
    assert await server.ended() == [accept, sent("early")]


async def test_a_client_can_be_refused() -> None:
    class Refusing(Echo):
        async def websocket_connect(self, message: Any) -> None:
            await self.socket.close(4403)

    server = Server(Refusing)

    assert await server.ended() == [close(4403)]
    assert server.socket.state is SocketState.CLOSED


async def test_nothing_follows_the_close_frame(serve: Serve, made: list[Echo]) -> None:
    server = serve()
    server.say(frame("close"))
    server.leave()

    assert await server.ended() == [ACCEPT, close(4000, reason="enough")]
    assert made[0].left == [4000]


async def test_only_the_first_code_counts(serve: Serve) -> None:
    server = serve()
    server.say(frame("hang"))
    await settle()

    server.socket.end(4001)
    server.socket.end(4002)
    server.leave()

    assert await server.ended() == [ACCEPT, close(4001)]


async def test_the_client_reads_what_goes_before(serve: Serve) -> None:
    server = serve()
    server.reads.clear()
    server.say(frame("a"))
    await server.is_blocked()

    closing = asyncio.ensure_future(server.socket.close(4001))
    await settle()
    assert server.socket.state is SocketState.CLOSING
    server.reads.set()
    server.leave()

    assert await server.ended() == [ACCEPT, sent("a"), close(4001)]
    await closing


async def test_one_that_does_not_read_is_closed_and_dropped(serve: Serve) -> None:
    counted: list[str] = []

    def count(name: str, **_: Any) -> None:
        counted.append(name)

    metrics.counted.connect(count)
    server = serve()
    server.say(frame("a"))
    server.socket.end_as_slow()
    server.socket.end_as_slow()
    server.leave()

    assert (await server.ended())[-1] == close(4008)
    assert server.transport.aborted
    assert counted.count("closed_slow") == 1
    metrics.counted.disconnect(count)


async def test_one_that_stays_after_the_end_is_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turbo.connections.websocket.CLOSE_TIMEOUT", 0.01)
    server = serve()
    server.say(frame("close"), frame("more"))

    await server.ended()
    assert server.transport.aborted


async def test_one_that_never_reads_the_end_is_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turbo.connections.websocket.CLOSE_TIMEOUT", 0.01)
    server = serve()
    server.reads.clear()
    server.say(frame("a"), frame("hang"))
    await server.is_blocked()

    server.socket.end(4001)

    assert await server.ended() == [ACCEPT, close(4001)]
    assert server.transport.aborted


async def test_a_server_that_ends_says_so_once(serve: Serve, made: list[Echo]) -> None:
    server = serve()
    server.say(frame("hang"))
    await settle()
    server.task.cancel()

    assert await server.ended() == [ACCEPT, close(1012)]
    assert (server.task.cancelled(), made[0].left) == (True, [1012])


async def test_the_endpoint_cleans_up_even_if_the_server_cancels_twice(
    serve: Serve, made: list[Echo]
) -> None:
    """Regression: it did not if the second time came while the last frames ended."""
    server = serve()
    ending = asyncio.Event()

    async def hold(message: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await asyncio.Event().wait()

    await settle()
    server.socket._send_buffer._send = hold
    server.say(frame("hello"))
    await settle()

    server.task.cancel()
    await asyncio.wait_for(ending.wait(), PATIENCE)
    server.task.cancel()

    await server.ended()
    assert made[0].left == [1012]


async def test_one_that_ends_while_another_code_is_said(serve: Serve) -> None:
    """The code stays what it was, and is said without waiting for the client."""
    server = serve()
    server.reads.clear()
    server.say(frame("a"))
    await server.is_blocked()
    server.socket.end(4403)
    await settle()
    server.task.cancel()

    assert await server.ended() == [ACCEPT, close(4403)]


async def test_a_failure_ends_with_its_code(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    server.say(frame("fail"))
    server.leave()

    assert await server.ended() == [ACCEPT, close(4013)]
    assert "failed to serve a client" in caplog.text


async def test_an_endpoint_that_cannot_be_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make(scope: Any, socket: WebSocket) -> Endpoint:
        raise LookupError("a bug")

    server = Server(make)

    assert await server.ended() == [close(4013)]
    assert "a bug" in caplog.text


async def test_a_failing_clean_up_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Echo):
        async def websocket_disconnect(self, message: Any) -> None:
            raise LookupError("a bug")

    server = Server(Failing)
    server.leave()

    await server.ended()
    assert "a bug" in caplog.text


async def test_what_runs_when_the_connection_ends_is_stopped(serve: Serve) -> None:
    server = serve()
    server.say(frame("end"))
    server.leave()

    assert await server.ended() == [ACCEPT, close(4001)]


async def begin(server: Server, made: list[Echo], text: str) -> None:
    """Send a frame, and return when it is being acted on."""
    server.say(frame(text))
    await settle()
    await asyncio.wait_for(made[0].acts.wait(), PATIENCE)


def finish(server: Server, code: int | None) -> None:
    """End the connection with a code; without one the client has left."""
    if code is None:
        server.socket._lose()
    else:
        server.socket.end(code)


@pytest.mark.parametrize("code", [None, 4001])
async def test_what_may_finish_has_a_moment(
    serve: Serve, made: list[Echo], code: int | None
) -> None:
    class Slow(Finishing):
        async def websocket_receive(self, message: Any) -> None:
            self.acts.set()
            await may_end.wait()
            done.append(message["text"])

    done: list[str] = []
    may_end = asyncio.Event()
    server = serve(Slow)
    await begin(server, made, "work")

    finish(server, code)
    await settle()
    may_end.set()
    server.leave()

    codes = [m["code"] for m in (await server.ended())[1:]]
    assert (done, codes) == (["work"], [code] if code else [])


@pytest.mark.parametrize("code", [None, 4001])
async def test_but_not_for_ever(
    serve: Serve, made: list[Echo], monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr("turbo.connections.websocket.CLOSE_TIMEOUT", 0.01)
    monkeypatch.setattr("turbo.connections.websocket.LEAVE_TIMEOUT", 0.01)
    server = serve(Finishing)
    await begin(server, made, "hang")

    finish(server, code)

    await server.ended()
    assert made[0].left == [code or 1006]


async def test_who_was_refused_is_not_let_in_afterwards() -> None:
    """Regression: the endpoint let in, late, whom something else had refused."""

    class Late(Finishing):
        async def websocket_connect(self, message: Any) -> None:
            await self.socket.close(4403)
            await self.socket.accept()
            await self.socket.send_bytes(b"hello")

    server = Server(Late)

    assert await server.ended() == [close(4403)]


async def test_no_bytes_follow_the_close_frame(serve: Serve) -> None:
    server = serve()
    server.say(frame("close"))
    server.leave()
    await server.ended()

    await server.socket.send_bytes(b"late")

    assert server.sent[-1] == close(4000, reason="enough")
