"""
Responses with the names of one user, which no cache may give to another user.

``cache_page`` runs inside of the middleware, so the header ``Cache-Control: private``
would come too late for it. Django's caches ask the request whether they may store the
response. ``{% cache %}`` asks nobody, so there is a warning about it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import FrameType
from typing import cast

from django.http import HttpRequest
from django.template.base import Token
from django.templatetags.cache import CacheNode

from turbo.runtime.log_once import once_a_minute

__all__ = ["keep_private", "warn_in_fragment"]

logger = logging.getLogger("turbo.streams")


def keep_private(request: HttpRequest | None) -> None:
    """
    Keep the response to a request from Django's cache, and from shared caches.

    For the latter, :class:`~turbo.middleware.TurboMiddleware` sets the header. Browsers
    may still keep the page for their user.
    """
    if request is None:
        return
    # Django REST framework wraps the request.
    request = getattr(request, "_request", request)
    request._cache_update_cache = False  # type: ignore[union-attr]
    details = getattr(request, "turbo", None)
    if details is not None:
        details.is_private = True


def warn_in_fragment() -> None:
    """
    Warn if a fragment of ``{% cache %}`` that is for all users is being rendered.

    The tag may be in an included template, which knows nothing of the fragment.
    """
    for node in _open_fragments():
        if not _is_per_user(node) and once_a_minute("cached fragment"):
            token = cast(Token, node.token)  # set by the parser
            logger.warning(
                "{%% %s %%}, in line %s of %s, has a stream in it. The fragment is "
                "stored with the names of one user, and other users are refused. Move "
                "{%% turbo_subscribe %%} or {%% turbo_component %%} out of it.",
                token.contents,
                token.lineno,
                node.origin,
            )


def _open_fragments() -> Iterator[CacheNode]:
    """Yield the fragments that this thread is rendering, from the inside out."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is CacheNode.render.__code__:
            yield frame.f_locals["self"]
        frame = frame.f_back


def _is_per_user(node: CacheNode) -> bool:
    """Return whether the arguments of the fragment name the user or the session."""
    names = [str(argument.token).lower() for argument in node.vary_on]
    return any("user" in name or "session" in name for name in names)
