"""
The namespace of a WebSocket, which is that of its handshake.

No middleware of Django runs for a WebSocket, so ``TURBO["FIND_NAMESPACE"]`` tells from
the ASGI scope, mostly from the name of the host, which tenant it is for. Everything
that is done for the connection is then done in that namespace.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from channels.auth import AuthMiddlewareStack
from channels.sessions import CookieMiddleware, SessionMiddleware

from turbo import metrics
from turbo.connections.users import session_user
from turbo.delivery.names import user_key
from turbo.runtime.namespaces import entered, find, is_used, of_task
from turbo.runtime.threads import in_thread
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["authenticated", "has_entered", "in_its_namespace"]

#: The key of the scope under which consumers find the namespace.
KEY = "turbo.namespace"


def has_entered(scope: Scope) -> bool:
    """Return whether this task has entered the namespace of a connection."""
    return scope.get(KEY) is not None and scope[KEY] == of_task()


async def in_its_namespace(
    application: ASGIApplication, scope: Scope, receive: Receive, send: Send
) -> None:
    """Let an application serve a connection in its namespace, or refuse it."""
    namespace = scope.get(KEY)
    if namespace is None:
        namespace = await in_thread(find, scope)
    if namespace is None:
        metrics.count("refused")
        await receive()
        await send({"type": "websocket.close"})
        return
    with entered(namespace):
        await application({**scope, KEY: namespace}, receive, send)


def authenticated(application: ASGIApplication) -> ASGIApplication:
    """
    Return an application whose connections have a session and a user in their scope.

    This is what ``AuthMiddlewareStack`` of Channels does, which looks for both outside
    any namespace.
    """

    async def with_user(scope: Scope, receive: Receive, send: Send) -> None:
        user = session_user(scope["session"])
        await in_thread(user_key, user)
        await application({**scope, "user": user}, receive, send)

    plain: Any = AuthMiddlewareStack(cast(Any, application))
    own: Any = CookieMiddleware(SessionMiddleware(cast(Any, with_user)))

    def choose(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if is_used():
            return in_its_namespace(own, scope, receive, send)
        return cast("Awaitable[None]", plain(scope, receive, send))

    return choose
