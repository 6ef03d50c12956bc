"""The options that all connections to Redis have in common."""

from __future__ import annotations

import codecs
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from channels_redis.utils import create_pool, decode_hosts
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

__all__ = ["connection_options", "is_first_database"]

CONNECT_TIMEOUT = 2.0
SOCKET_TIMEOUT = 5.0

_LIMITS = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": SOCKET_TIMEOUT}

#: A connection on which nothing is sent is found dead after 11 seconds, and one on
#: which something is sent after 10. Some systems do not know all of these options.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {
        "TCP_KEEPIDLE": 5,
        "TCP_KEEPINTVL": 2,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 10_000,
    }.items()
    if hasattr(socket, name)
}


def connection_options(
    host: Mapping[str, Any], *, timeout: float | None = None
) -> dict[str, Any]:
    """
    Return the options of a connection to a host, in the format of ``create_pool``.

    Timeouts are ``timeout`` seconds unless the host has its own. The kernel checks that
    connections are alive. The client does not repeat commands by itself, because a
    command might then run twice.
    """
    options = dict(host)
    options.pop("retry_on_timeout", None)
    options.pop("retry_on_error", None)
    options["retry"] = Retry(NoBackoff(), 0)
    options["decode_responses"] = True
    options["encoding"], options["encoding_errors"] = "utf-8", "turbo"
    for name, limit in _LIMITS.items():
        options[name] = options.get(name) or timeout or limit
    if not _is_local(options):
        _keep_alive(options)
    if "master_name" in options:
        sentinel = _LIMITS | (options.get("sentinel_kwargs") or {})
        options["sentinel_kwargs"] = _keep_alive(sentinel)
    return options


def _is_local(host: Mapping[str, Any]) -> bool:
    """Return whether the host is a Unix socket, which has no such options."""
    return "path" in host or str(host.get("address", "")).startswith("unix:")


def _keep_alive(options: dict[str, Any]) -> dict[str, Any]:
    if options.setdefault("socket_keepalive", True):
        options.setdefault("socket_keepalive_options", _KEEPALIVE)
    return options


def is_first_database(hosts: Sequence[Any] | None) -> bool:
    """Return whether a host uses database 0, which is the default of Redis clients."""
    pools = [create_pool(connection_options(host)) for host in decode_hosts(hosts)]
    return any(not pool.connection_kwargs.get("db") for pool in pools)


def _lenient(error: UnicodeError) -> tuple[str | bytes, int]:
    """Keep lone surrogates both ways, and replace bytes that are not UTF-8."""
    try:
        return codecs.lookup_error("surrogatepass")(error)
    except UnicodeError:
        return codecs.replace_errors(error)


codecs.register_error("turbo", _lenient)
