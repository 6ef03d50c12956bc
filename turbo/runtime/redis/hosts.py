"""The Redis hosts of a setting, in the format of channels-redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from channels_redis.utils import decode_hosts

from turbo.exceptions import ConfigurationError

__all__ = ["is_remote", "read_hosts"]

_HERE = (None, "localhost", "127.0.0.1", "::1")


def read_hosts(
    given: Sequence[Any] | None, *, owner: str, clusters: bool = False
) -> list[dict[str, Any]]:
    """
    Return the options of each host; an error message begins with ``owner``.

    ``clusters`` says whether a host may be a Redis cluster.
    """
    try:
        hosts: list[dict[str, Any]] = decode_hosts(given)
    except ValueError as error:
        raise ConfigurationError(f"{owner}: {error}") from error
    if not clusters and any("cluster" in host for host in hosts):
        raise ConfigurationError(
            f"{owner} cannot be a cluster; only those of the replay log can. Name "
            f"a Redis that is not in a cluster."
        )
    return hosts


def is_remote(host: Mapping[str, Any]) -> bool:
    """
    Return whether a host, or one of its sentinels, is another machine.

    >>> is_remote({"address": "redis://10.0.0.5:6379"}), is_remote({"host": "::1"})
    (True, False)
    """
    if "sentinels" in host:
        return any(name not in _HERE for name, _ in host["sentinels"])
    if "address" in host:
        return urlsplit(host["address"]).hostname not in _HERE
    return host.get("host") not in _HERE
