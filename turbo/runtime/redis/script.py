"""A Lua script, the digest by which Redis knows it, and what comes of running it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

__all__ = ["Script", "results", "unknown"]


class Script:
    """A Lua script and the digest by which a server knows it."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # The digest that Redis prescribes; nothing depends on its strength.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def command(
        self, keys: Sequence[str], args: Sequence[str | int], *, whole: bool
    ) -> tuple[str | int, ...]:
        """Return the command that names the script, or holds its ``whole`` text."""
        name, text = ("EVAL", self.source) if whole else ("EVALSHA", self.sha)
        return (name, text, len(keys), *keys, *args)


def unknown(replies: Sequence[Any]) -> list[int]:
    """Return the places of those whose script has to be sent whole."""
    return [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def results(replies: list[Any]) -> list[Any]:
    """Return the replies; raise the first one that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
