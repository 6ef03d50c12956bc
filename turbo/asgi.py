"""
The ASGI application of a project.

``asgi.py`` of a project::

    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    from turbo.asgi import get_application

    application = get_application()
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, cast

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import URLPattern, re_path
from django.utils.module_loading import import_string

from turbo.connections.namespaces import authenticated
from turbo.connections.origin import OriginValidator
from turbo.http.addresses import prefix_of, without_prefix
from turbo.routing import NAME, get_websocket_urlpatterns
from turbo.runtime.endings import finish
from turbo.runtime.log_once import once_a_minute
from turbo.runtime.threads import in_thread
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["get_application", "lifespan"]

logger = logging.getLogger("turbo.consumers")


def get_application(
    websocket_urlpatterns: Sequence[Any] | str = (),
) -> ProtocolTypeRouter:
    """
    Return an application with Django over HTTP and the streams over WebSockets.

    It accepts WebSockets only from pages of this site, by
    :class:`~turbo.connections.origin.OriginValidator`. Pass consumers of your own in
    ``websocket_urlpatterns``; they come after the path of the streams and find the user
    in their scope. Most consumers import models, which is not possible before Django is
    set up, so you can pass the dotted path of the patterns:
    ``get_application("chat.routing.urlpatterns")``.
    """
    http = get_asgi_application()  # sets Django up, so it comes first
    if isinstance(websocket_urlpatterns, str):
        websocket_urlpatterns = import_string(websocket_urlpatterns)
    routes: list[Any] = [*get_websocket_urlpatterns()]
    if websocket_urlpatterns:
        _warn_of_shadowed(websocket_urlpatterns, "/" + str(routes[0].pattern))
        router: Any = URLRouter(list(websocket_urlpatterns))
        further: Any = authenticated(router)
        routes.append(re_path("", further))
    nowhere: Any = _refuse
    routes.append(re_path("", nowhere))
    websocket = OriginValidator(_straight(routes[0], URLRouter(routes)))
    return ProtocolTypeRouter(
        {"http": http, "websocket": websocket, "lifespan": lifespan}
    )


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Send what waits before the server ends; an ASGI application for ``"lifespan"``.

    Some servers, such as uvicorn, then kill their process.
    """
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await in_thread(finish)
    await send({"type": "lifespan.shutdown.complete"})


def _warn_of_shadowed(patterns: Iterable[Any], streams: str) -> None:
    """Warn of a pattern for just the path of the streams; one for all paths is fine."""
    for pattern in patterns:
        if (
            pattern.name != NAME
            and _matches(pattern, streams)
            and not _matches(pattern, "/turbo-matches-everything/")
        ):
            logger.warning(
                "The consumer at %s is never called, because the streams of pages are "
                "at %s. Use another path for it, or set TURBO['WEBSOCKET_PATH'].",
                pattern.pattern,
                streams,
            )


def _matches(pattern: Any, path: str) -> bool:
    found = pattern.pattern.match(path.lstrip("/"))
    routes = getattr(pattern.callback, "routes", None)  # that of a URLRouter
    if found is None or routes is None:
        return found is not None
    return any(_matches(route, found[0]) for route in routes)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket for an unknown path; log it at most once a minute."""
    if once_a_minute("unknown path"):
        path = scope["path"]
        logger.warning("A WebSocket was refused: no consumer is at %r.", f"{path:.200}")
    await send({"type": "websocket.close"})


def _straight(streams: URLPattern, router: ASGIApplication) -> ASGIApplication:
    """
    Return an application that calls the consumer of the streams without the router.

    The router would keep a copy of the scope for as long as a page is connected. It
    gets the path below the prefix of the site, as the URLs of Django do.
    """
    own = "/" + str(streams.pattern)
    consumer: Any = streams.callback

    def application(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = without_prefix(scope["path"], prefix_of(scope))
        if path == own:
            return cast(Awaitable[None], consumer(scope, receive, send))
        below = dict(scope, path_remaining=path.lstrip("/"))
        return router(below, receive, send)

    return application
