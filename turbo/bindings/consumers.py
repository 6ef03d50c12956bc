"""
A WebSocket for JSON clients that follow a binding.

::

    class ScoresConsumer(turbo.bindings.BindingConsumer):
        event = "scores"
        binding = Scores

        def user_passes_test(self, user):
            return user.is_authenticated

    websocket_urlpatterns = [path("ws/scores/", ScoresConsumer.as_asgi())]
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qs

from django.core.exceptions import ValidationError
from django.db import DataError

from turbo import metrics
from turbo.bindings.binding import Binding
from turbo.bindings.clients.client import BindingClient
from turbo.bindings.messages import message, parse_request
from turbo.bindings.rows.codec import check_storable
from turbo.bindings.store.versions import Version
from turbo.conf import get_settings
from turbo.connections.inbox import Inbox, end_now
from turbo.connections.send_buffer import SendBuffer
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.exceptions import ConfigurationError, FrameError
from turbo.runtime import loops
from turbo.runtime.failures import log_failure
from turbo.runtime.threads import in_thread
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["BindingConsumer", "consumer_classes"]

logger = logging.getLogger("turbo.bindings")

#: Seconds that a client may take to read what goes before the end.
CLOSE_TIMEOUT = 2.0

#: What is raised for an argument in the URL that the binding cannot be asked with.
_REFUSALS = (ArithmeticError, DataError, TypeError, ValidationError, ValueError)

_classes: list[type[BindingConsumer]] = []


def consumer_classes() -> list[type[BindingConsumer]]:
    """Return the consumers that the project declares."""
    return list(_classes)


class BindingConsumer:
    """
    The connection of a JSON client to a binding.

    The client gets all rows when it connects, and then every change. If it reconnects
    with ``?version=``, it gets what it has missed.
    """

    #: The name in every message; the binding's label if empty.
    event: str = ""
    #: A class of bindings, or an instance of one.
    binding: ClassVar[Any] = None
    #: Groups of clients for :func:`~turbo.bindings.send_to_group`.
    groups: ClassVar[Sequence[str]] = ()
    #: Rows in one message of a full sync.
    page_size: int = 100

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _classes.append(cls)

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        # Ends the conversation when the server wants it to, and never otherwise.
        self._limit = asyncio.timeout(None)
        self._code: int = CloseCode.SLOW
        self._is_lost = False
        self._send_buffer = SendBuffer(
            scope, send, on_slow=lambda: self.end(CloseCode.SLOW)
        )

    @classmethod
    def as_asgi(cls) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(scope, receive, send).serve()

        return loops.websocket_application(serve, cls.__qualname__)

    def get_binding(self) -> Binding:
        """
        Return the binding to follow.

        Its parameters are taken from the URL's arguments of the same names.
        """
        binding = self.binding
        if isinstance(binding, Binding):
            return binding
        if not (isinstance(binding, type) and issubclass(binding, Binding)):
            raise ConfigurationError(
                f"{type(self).__name__}.binding is {binding!r}, which is no Binding."
            )
        arguments = self._arguments()
        return binding(**{name: arguments[name] for name in binding.params})

    def get_groups(self) -> Sequence[str]:
        """Return the groups that this client belongs to."""
        return self.groups

    def user_passes_test(self, user: Any) -> bool:
        """
        Return whether ``user`` may follow the binding; may be ``async def``.

        Called at each connection, and again every ``RECHECK_INTERVAL`` seconds.
        """
        return True

    @classmethod
    def tests_user(cls) -> bool:
        """Return whether this class says itself who may listen."""
        return cls.user_passes_test is not BindingConsumer.user_passes_test

    def put(self, frame: Frame) -> None:
        """Send a frame, now or soon."""
        self._send_buffer.put(frame)

    async def ready(self) -> None:
        """Wait until nothing waits to be sent; others have their turn first."""
        await asyncio.sleep(0)
        await self._send_buffer.ready()

    def end(self, code: int) -> None:
        """End the connection."""
        self._code = code
        end_now(self._limit)

    async def serve(self) -> None:
        """Serve the connection until either side closes it."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        client: BindingClient | None = None
        try:
            async with self._limit:
                binding = await in_thread(self._prepared_binding)
                client = BindingClient(self, binding, self.scope, self)
                await self._converse(client)
        except asyncio.CancelledError:
            self._code = CloseCode.RESTART
            await self._close()
            raise
        except Exception as error:
            if not (isinstance(error, TimeoutError) and self._limit.expired()):
                self._fail(error)
            await self._close()
        finally:
            await self._send_buffer.close()
            if client is not None:
                await client.stop()

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments in the URL, which a stranger has chosen."""
        route = self.scope.get("url_route") or {}
        arguments: dict[str, Any] = route.get("kwargs", {})
        return arguments

    def _prepared_binding(self) -> Binding:
        for value in self._arguments().values():
            check_storable(value)
        binding = self.get_binding()
        _ = binding.slot  # looks at the queryset, for which Django may ask the database
        return binding

    async def _converse(self, client: BindingClient) -> None:
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        say_limited = partial(
            client.say,
            "error",
            reason="limit",
            detail="Frames come faster than is allowed.",
        )
        with Inbox(
            self._receive,
            self._send_buffer,
            pace=partial(client.budget.next_frame, say_limited),
            on_lost=self._leave,
        ) as inbox:
            await client.start(Version.parse(query.get("version", [""])[-1]))
            while (message := await inbox.next())["type"] == "websocket.receive":
                await self._act(client, message.get("text"))

    def _leave(self) -> None:
        self._is_lost = True
        end_now(self._limit)

    async def _act(self, client: BindingClient, text: str | None) -> None:
        try:
            request = parse_request(text, limit=get_settings().max_frame_bytes)
        except FrameError as error:
            metrics.count("bad_frames")
            client.say("error", reason=error.reason, detail=error.detail)
            return
        if request.get("disconnect"):
            self.end(1000)
        elif request.get("ping"):
            client.say("pong")
        else:
            await client.resume(Version.parse(request["version"]))

    def _fail(self, error: Exception) -> None:
        """Say that there is no such binding, or that something is broken."""
        if self._arguments() and isinstance(error, _REFUSALS):
            metrics.count("refused")
            event = self.event or getattr(self.binding, "label", "")
            self.put(Frame(message(event, "denied", reason="unknown")))
            self._code = CloseCode.FORBIDDEN
        else:
            log_failure(f"{type(self).__qualname__} cannot serve a client.", error)
            self._code = CloseCode.AGAIN

    async def _close(self) -> None:
        if self._is_lost:
            return
        is_slow = self._code == CloseCode.SLOW
        if is_slow:
            metrics.count("closed_slow")
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send_buffer.ready()
                await self._send({"type": "websocket.close", "code": int(self._code)})
                while (
                    is_slow and (await self._receive())["type"] == "websocket.receive"
                ):
                    pass
        if is_slow:
            self._send_buffer.abort()
