"""The URL pattern of the WebSocket, for ``URLRouter``."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.urls import URLPattern, path

from turbo.conf import get_settings
from turbo.consumers import TurboStreamsConsumer
from turbo.http.addresses import prefix_of, without_prefix

__all__ = ["get_websocket_urlpatterns", "websocket_urlpatterns"]

#: The name of the pattern.
NAME = "turbo-websocket"

websocket_urlpatterns: list[URLPattern]


def get_websocket_urlpatterns() -> list[URLPattern]:
    """
    Return the pattern for ``TURBO["WEBSOCKET_PATH"]``, in a list.

    With ``FORCE_SCRIPT_NAME``, there is one more, for proxies that leave the prefix.
    """
    prefix = prefix_of()
    path_only = urlsplit(get_settings().websocket_path).path
    route = without_prefix(path_only, prefix).lstrip("/")
    routes = [route, f"{prefix}/{route}".lstrip("/")] if prefix else [route]
    view: Any = TurboStreamsConsumer.as_asgi()
    return [path(route, view, name=NAME) for route in routes]


def __getattr__(name: str) -> Any:
    # Settings are read when the patterns are used, not when this module is imported.
    if name == "websocket_urlpatterns":
        return get_websocket_urlpatterns()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
