"""A Lua script, and the digest by which Redis knows it."""

from __future__ import annotations

import hashlib

__all__ = ["Script"]


class Script:
    """A Lua script and the digest by which a server knows it."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # The digest that Redis prescribes; nothing depends on its strength.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
