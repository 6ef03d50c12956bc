"""
The addresses of a site below a prefix: ``FORCE_SCRIPT_NAME`` or the server's root path.

Pages use addresses with the prefix. The server gets paths with it or without it,
because some proxies strip it; Django accepts both for HTTP, and so does this library
for WebSockets.
"""

from __future__ import annotations

from django.conf import settings
from django.urls import get_script_prefix

from turbo.typing import Scope

__all__ = ["below_prefix", "prefix_of", "without_prefix"]


def below_prefix(path: str) -> str:
    """Return the address of ``path`` on the site, as ``reverse()`` would."""
    prefix = get_script_prefix()
    if "://" in path or path.startswith(prefix):
        return path
    return prefix.rstrip("/") + "/" + path.lstrip("/")


def prefix_of(scope: Scope | None = None) -> str:
    """Return the prefix of the site without a slash at its end: ``"/app"``."""
    root_path: str = (scope or {}).get("root_path", "")
    return (settings.FORCE_SCRIPT_NAME or root_path).rstrip("/")


def without_prefix(path: str, prefix: str) -> str:
    """Return a path without the prefix, whether the proxy has stripped it or not."""
    return path.removeprefix(prefix) if path.startswith(prefix + "/") else path
