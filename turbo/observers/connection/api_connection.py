"""The connection of one client, with the methods of a consumer of Channels."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from channels.exceptions import AcceptConnection, DenyConnection
from rest_framework.exceptions import APIException, ParseError, PermissionDenied

from turbo import metrics
from turbo.connections.connection import wait_until_listening
from turbo.connections.websocket import Endpoint, Link, WebSocket, application
from turbo.delivery.client_json import read_json
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.exceptions import ConfigurationError
from turbo.observers.connection.groups import LayerGroups
from turbo.observers.connection.subscriptions import Subscriptions
from turbo.observers.connection.turns import Turns
from turbo.observers.wire.replies import LIMITED, encode
from turbo.observers.wire.requests import check_size, text_of
from turbo.runtime.code import names_in_code
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import websocket_application
from turbo.runtime.tasks import Tasks
from turbo.typing import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["Application", "JsonConnection"]

OWN = "turbo."

NORMAL = 1000
#: The close code after an error in the application.
INTERNAL_ERROR = 1011


class Application(Endpoint):
    """The base class of what a route can lead to: consumers and multiplexers."""

    websocket_finishes: ClassVar[bool] = True
    #: Whether this object has got its connection.
    websocket_is_taken: bool = False

    def __init__(self) -> None:
        """Accept the arguments of ``as_asgi()``; ``attach()`` sets the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, in a test; routes need :meth:`as_asgi`."""
        name = type(self).__qualname__
        if self.websocket_is_taken:
            raise ConfigurationError(
                f"This {name} serves one connection, which it has had. Route to "
                f"{name}.as_asgi(), which makes a consumer for each connection."
            )
        self.websocket_is_taken = True

        def attach(scope: Scope, socket: WebSocket) -> Application:
            self.attach(scope, socket)
            return self

        await application(attach, name)(scope, receive, send)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""
        if cls.__call__ is not Application.__call__:  # a project overrides it

            async def serve(scope: Scope, receive: Receive, send: Send) -> None:
                await cls(**initkwargs)(scope, receive, send)

            return websocket_application(serve, cls.__qualname__)

        def make(scope: Scope, socket: WebSocket) -> Application:
            endpoint = cls(**initkwargs)
            endpoint.attach(scope, socket)
            return endpoint

        return application(make, cls.__qualname__)

    def attach(self, scope: Scope, link: Link) -> None:
        """Set the connection that this object serves."""

    async def websocket_prepare(self) -> None:
        """Wait a moment until this process listens for revocations."""
        await wait_until_listening()

    def websocket_failed(self, error: Exception) -> int:
        """Report a failure; clients of this protocol expect the close code 1011."""
        super().websocket_failed(error)
        return INTERNAL_ERROR


class JsonConnection(Application):
    """A connection that carries JSON objects, which subclasses handle."""

    #: The groups of the channel layer that the consumer joins when a client connects.
    groups: Any = ()
    channel_layer_alias: str | None = None
    #: Whether a method of the project mentions ``channel_name``.
    _names_channel: ClassVar[bool] = False

    def __init__(self) -> None:
        self.scope: Scope = {}
        self._accepted = False
        self.subscriptions = Subscriptions()
        #: The tasks that run in the background, by the name of their method.
        self.detached_tasks: dict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._layer_groups = LayerGroups(self, self.channel_layer_alias)
        self._first_groups = tuple(self.groups or ())
        self.groups = self._layer_groups.names

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._names_channel = any(
            "channel_name" in names_in_code(value)
            for base in cls.__mro__
            if not base.__module__.startswith(OWN)
            for value in vars(base).values()
        )

    def attach(self, scope: Scope, link: Link) -> None:
        """Set the connection that this object serves."""
        self.scope = dict(scope)
        self.link = link
        self.turns = Turns(on_full=link.end_as_slow)
        self._tasks = Tasks()

    # --- Connect and disconnect

    async def websocket_connect(self, message: Message) -> None:
        """Join the first groups, and accept or refuse the client."""
        if self._names_channel and self._layer_groups.exists:
            await self._layer_groups.open()
        for group in self._first_groups:
            await self.add_group(group)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except (DenyConnection, PermissionDenied):
            await self.close()

    async def connect(self) -> None:
        """Accept the connection; override to do more, or to refuse."""
        await self.accept()

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Accept the connection."""
        self._accepted = True
        await self.link.accept(subprotocol, headers or ())

    async def close(self, code: int | None = None, reason: str = "") -> None:
        """Close the connection, by default with 1000, or refuse it with 4403."""
        if code is None:
            code = NORMAL if self._accepted else CloseCode.FORBIDDEN
        await self.link.close(code, reason)

    async def disconnect(self, code: int) -> None:
        """Override to act after the connection has ended."""

    async def websocket_disconnect(self, message: Message) -> None:
        """End the subscriptions, the tasks and the groups."""
        self.subscriptions.close()
        async with AsyncExitStack() as stack:  # all of it, even if cancelled half-way
            stack.push_async_callback(self._layer_groups.close)
            stack.push_async_callback(self.disconnect, message["code"])
            stack.push_async_callback(self.turns.close)
            await self._tasks.stop()

    # --- Receive

    async def websocket_receive(self, message: Message) -> None:
        """Pass a frame to :meth:`receive`."""
        text, data = message.get("text"), message.get("bytes")
        try:
            check_size(text or data or "")
        except APIException as error:
            await self.refuse_frame(error)
        else:
            await self.receive(text_data=text, bytes_data=data)

    async def receive(
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Decode a frame, and run the action that it asks for.

        Override it for frames of another form. Here a frame of bytes is refused.
        """
        try:
            content = await self.decode_json(text_of({"text": text_data}))
            if not isinstance(content, dict):
                raise ParseError("The frame is not a JSON object.")
        except (ValueError, RecursionError):
            await self.refuse_frame(ParseError("The frame is not JSON."))
        except APIException as error:
            await self.refuse_frame(error)
        else:
            await self.receive_json(content, **kwargs)

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        """Handle a message; override this."""

    async def refuse_frame(self, error: APIException) -> None:
        """Count a frame that is not valid."""
        metrics.count("bad_frames")

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Return the value of a client's JSON text."""
        return read_json(text_data)

    # --- Send

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """Return JSON for a client."""
        return encode(content)

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send a JSON message."""
        await self.send(await self.encode_json(content), close=close)

    async def send(
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """Send a frame, and optionally close the connection."""
        if text_data is not None:
            self.link.put(Frame(text_data))
        elif bytes_data is not None:
            await self.link.send_bytes(bytes_data)
        if close:
            await self.close(None if close is True else close)

    def websocket_limited(self) -> None:
        """Tell the client that it sends faster than its frames are read."""
        self.link.put(Frame(LIMITED))

    # --- Background tasks and groups

    def run_detached(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str = ""
    ) -> None:
        """Run a coroutine in the background, until the client disconnects."""
        tasks = self.detached_tasks[name or getattr(coroutine, "__name__", "")]
        task = self._tasks.run(_guarded(coroutine))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def add_group(self, name: str) -> None:
        """
        Join a group of the channel layer.

        A message ``{"type": "room.closed"}`` to this group calls
        ``room_closed(message)``. Observers work without groups.
        """
        await self._layer_groups.add(name)

    async def remove_group(self, name: str) -> None:
        """Leave a group of the channel layer."""
        await self._layer_groups.remove(name)

    @property
    def channel_layer(self) -> Any:
        """Return the channel layer."""
        return self._layer_groups.layer

    @property
    def channel_name(self) -> str:
        """
        Return the channel of this consumer, whose messages call its methods.

        It exists before :meth:`connect` if a method of the class mentions
        ``channel_name``, and otherwise after the first :meth:`add_group`.
        """
        return self._layer_groups.channel


async def _guarded(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        await coroutine
    except asyncio.CancelledError:
        raise
    except Exception as error:
        log_failure("A detached coroutine failed.", error)
