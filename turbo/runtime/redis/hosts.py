"""The Redis hosts of a setting, in the format of channels-redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels_redis.utils import decode_hosts

from turbo.exceptions import ConfigurationError

__all__ = ["read_hosts"]


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
