"""From a class to an ASGI application: one object for each connection."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps

from turbo.connections.websocket import Socket
from turbo.runtime import loops
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["Application"]

logger = logging.getLogger("turbo.observers")

APP = "turbo.observers"


class Application:
    """The base of what can be routed to: consumers and multiplexers."""

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""
        if apps.ready and not apps.is_installed(APP):
            logger.warning(
                "%s is served, but %r is not in INSTALLED_APPS: what a shell or a "
                "worker saves is not heard, for those do not import consumers.py.",
                cls.__qualname__,
                APP,
            )

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            endpoint: Any = cls(**initkwargs)
            await Socket(receive, send, scope).serve(endpoint, scope)

        return loops.websocket_application(serve, cls.__qualname__)
