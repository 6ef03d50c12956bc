"""Lua scripts, the digests by which Redis knows them, and the replies to them."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = [
    "SERVER",
    "UNREACHABLE",
    "Script",
    "is_elsewhere",
    "results",
    "unknown",
    "was_dead",
]

#: What is raised if a connection cannot be used any more.
UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError)

#: What a server answers that is not, or not yet, the one to ask.
_ELSEWHERE = (
    AskError,  # MOVED as well
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    TryAgainError,
)


#: The beginning of a script: ``server()`` is a word that changes when the server starts
#: or becomes master, also if it was master before. Then its data may be older than what
#: clients have seen. It is '' for a user who may not call INFO.
SERVER = """
local function server()
    local info = redis.pcall('INFO', 'replication')
    return type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
end
"""


class Script:
    """A Lua script and the digest by which a server knows it."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # Redis requires SHA-1; security does not depend on it.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def command(
        self, keys: Sequence[str], args: Sequence[str | int], *, whole: bool
    ) -> tuple[str | int, ...]:
        """Return the command with the script's digest, or with its ``whole`` text."""
        name, text = ("EVAL", self.source) if whole else ("EVALSHA", self.sha)
        return (name, text, len(keys), *keys, *args)


def unknown(replies: Sequence[Any]) -> list[int]:
    """Return the indexes of the replies that say that the script is unknown."""
    return [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def is_elsewhere(reply: Any) -> bool:
    """
    Return whether a reply says to ask another server, or to ask again.

    A connection to a new server may be all that is needed: the address of a master
    stays while the master changes.
    """
    if isinstance(reply, _ELSEWHERE):
        return True
    # Redis 6.2 wraps the error of a command in a script.
    return isinstance(reply, ResponseError) and "-READONLY" in str(reply)


def was_dead(error: BaseException) -> bool:
    """
    Return whether a connection had ended before it was used.

    The host may have closed it, or the kernel has given it up. Redis' client reports
    the latter like an answer that does not come in time.
    """
    if isinstance(error, RedisConnectionError):
        return True
    return getattr(error.__context__, "errno", None) == errno.ETIMEDOUT


def results(replies: list[Any]) -> list[Any]:
    """Return the replies; raise the first one that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
