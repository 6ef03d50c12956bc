"""Connections to Redis for synchronous code, shared by all threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from weakref import finalize

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from turbo.runtime.forks import after_in_child
from turbo.runtime.redis.options import connection_options
from turbo.runtime.redis.script import (
    UNREACHABLE,
    Script,
    is_elsewhere,
    results,
    unknown,
)

__all__ = ["Host", "ScriptCommand"]

#: A script, its keys and its arguments.
ScriptCommand: TypeAlias = tuple[Script, Sequence[str], Sequence[str | int]]


class Host:
    """One Redis host and the connections to it."""

    def __init__(self, address: Mapping[str, Any], *, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._connect()
        after_in_child(self.renew)

    def run(self, commands: Sequence[ScriptCommand]) -> list[Any]:
        """Run scripts in one round trip, or in two if the host does not know one."""
        replies = self._send(commands, whole=False)
        if places := unknown(replies):
            again = self._send([commands[n] for n in places], whole=True)
            for n, reply in zip(places, again, strict=True):
                replies[n] = reply
        return results(replies)

    def execute(self, *command: str) -> Any:
        """Return the reply to one command."""
        return self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    def renew(self) -> None:
        """Open new connections in a forked process; the old ones are the parent's."""
        self._closing.detach()
        _inherited.append(self._redis)
        self._connect()

    def _connect(self) -> None:
        pool = self._pool()
        self._redis = Redis(connection_pool=pool)
        # Closes the connections when this object is dropped after a change of settings.
        self._closing = finalize(self, pool.disconnect)
        self._closing.atexit = False

    def _send(self, commands: Sequence[ScriptCommand], *, whole: bool) -> list[Any]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for script, keys, args in commands:
                command = script.command(keys, args, whole=whole)
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            try:
                replies: list[Any] = pipeline.execute(raise_on_error=False)
            except UNREACHABLE:
                self._drop_idle()
                raise
        if any(map(is_elsewhere, replies)):
            self._drop_idle()
        return replies

    def _drop_idle(self) -> None:
        """Close the connections that are not in use; they lead to the same server."""
        with suppress(*UNREACHABLE):
            self._redis.connection_pool.disconnect(inuse_connections=False)

    def _pool(self) -> ConnectionPool:
        options = connection_options(self._address, timeout=self._timeout)
        options["retry"] = Retry(NoBackoff(), 0)  # not the asynchronous one
        if "address" in options:
            return ConnectionPool.from_url(options.pop("address"), **options)
        if "master_name" in options:
            return _sentinel_pool(options)
        return ConnectionPool(**options)


def _sentinel_pool(options: dict[str, Any]) -> ConnectionPool:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        options.pop("sentinels"), sentinel_kwargs=options.pop("sentinel_kwargs", None)
    )
    name = options.pop("master_name")
    return SentinelConnectionPool(name, sentinel, **options)  # type: ignore[no-untyped-call]


_inherited: list[object] = []  # closing them would disconnect the parent
