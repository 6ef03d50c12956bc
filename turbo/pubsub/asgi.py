"""The ASGI application that ``pubsub_server`` serves."""

from __future__ import annotations

from typing import Any

from channels.routing import ProtocolTypeRouter

from turbo.connections.namespaces import authenticated
from turbo.connections.origin import OriginValidator
from turbo.pubsub.consumers import PubSubConsumer
from turbo.typing import Receive, Scope, Send

__all__ = ["get_application"]


def get_application() -> ProtocolTypeRouter:
    """
    Return an application with a WebSocket on every path, and sessions.

    Pages of other sites cannot use their visitors' sessions, because the origin is
    checked. Programs other than browsers send no origin and are accepted.
    """
    consumer: Any = authenticated(PubSubConsumer.as_asgi())
    websocket = OriginValidator(consumer, required=False)
    return ProtocolTypeRouter({"http": _explain, "websocket": websocket})


async def _explain(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": b"Connect with a WebSocket.\n"})
