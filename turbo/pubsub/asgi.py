"""The ASGI application that ``pubsub_server`` serves."""

from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter
from channels.security.websocket import AllowedHostsOriginValidator

from turbo.pubsub.consumers import PubSubConsumer
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["get_application"]


def get_application() -> ProtocolTypeRouter:
    """
    Return the whole stack: a WebSocket on every path, behind log-in and origin check.

    The page of another site cannot use its visitor's session. Programs that are no
    browsers name no origin, and are welcome.
    """
    consumer = AuthMiddlewareStack(PubSubConsumer.as_asgi())
    websocket = _from_allowed_origins(consumer)
    return ProtocolTypeRouter({"http": _explain, "websocket": websocket})


def _from_allowed_origins(application: ASGIApplication) -> ASGIApplication:
    checked: Any = AllowedHostsOriginValidator(application)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        has_origin = any(name == b"origin" for name, _ in scope["headers"])
        await (checked if has_origin else application)(scope, receive, send)

    return choose


async def _explain(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": b"Connect with a WebSocket.\n"})
