"""
The consumer of the WebSockets of pages.

:class:`TurboStreamsConsumer` is a plain ASGI application, so that no message passes
through Channels' per-connection dispatch. It works directly under
``ProtocolTypeRouter``::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": TurboStreamsConsumer.as_asgi(),
    })

It looks up the user of a session by itself, in the same visit to the database that the
first subscriptions need. If middleware has set a user, it uses that one.
"""

from __future__ import annotations

from turbo.connections.budgets import ConnectionBudget
from turbo.connections.page import PageConnection
from turbo.connections.users import with_visitor
from turbo.connections.websocket import Endpoint, WebSocket
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import LIMITED
from turbo.typing import Message, Scope

__all__ = ["TurboStreamsConsumer"]


class TurboStreamsConsumer(Endpoint):
    """The server's side of one page's WebSocket."""

    __slots__ = ("_scope", "_socket", "_subscriber")

    def __init__(self, scope: Scope, socket: WebSocket) -> None:
        self._scope = scope
        self._socket = socket
        self._subscriber: PageConnection | None = None

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return the budget of the page."""
        assert self._subscriber is not None
        return self._subscriber.budget

    async def websocket_connect(self, message: Message) -> None:
        """Accept every page; its signed names decide what it may see."""
        await self._socket.accept()
        scope = with_visitor(self._scope)
        self._subscriber = PageConnection(scope, self._socket.put, self._socket.room)

    async def websocket_receive(self, message: Message) -> None:
        """Handle a frame."""
        assert self._subscriber is not None
        await self._subscriber.receive(message.get("text"))

    async def websocket_disconnect(self, message: Message) -> None:
        """Leave all streams."""
        if self._subscriber is not None:
            await self._subscriber.stop()

    def websocket_limited(self) -> None:
        """Tell the client that it sends frames faster than they are read."""
        self._socket.put(Frame(LIMITED))
