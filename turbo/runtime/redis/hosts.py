"""The Redis hosts of a setting, in the format of channels-redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels_redis.utils import decode_hosts

from turbo.exceptions import ConfigurationError

__all__ = ["read_hosts"]


def read_hosts(given: Sequence[Any] | None, *, owner: str) -> list[dict[str, Any]]:
    """Return the options of each host; an error message begins with ``owner``."""
    try:
        hosts: list[dict[str, Any]] = decode_hosts(given)
    except ValueError as error:
        raise ConfigurationError(f"{owner}: {error}") from error
    return hosts
