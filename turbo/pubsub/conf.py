"""The settings of pub/sub: ``TURBO["PUBSUB"]``, read as one frozen object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from turbo.conf import layer_hosts, layer_is_redis, section_reader
from turbo.exceptions import ConfigurationError
from turbo.runtime.redis.hosts import read_hosts

__all__ = ["Access", "PubSubSettings", "get_pubsub_settings", "redis_host"]

#: Who may connect to ``pubsub_server``; each value allows fewer than the one before.
Access: TypeAlias = Literal["anyone", "session", "authenticated", "staff", "superuser"]

_PATHS = ("extra_models", "hello_messages")


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubSettings:
    """Every key of ``TURBO["PUBSUB"]``, in lower case, with its default."""

    #: Address that ``pubsub_server`` listens on.
    host: str = "127.0.0.1"
    #: Port that ``pubsub_server`` listens on.
    port: int = 8090
    #: Seconds between two pings of an idle client; ``0`` sends none.
    ping_interval: float = 30.0
    #: Dotted paths of ``ModelListenConfig`` classes, for models of other apps.
    extra_models: Sequence[str] = ()
    #: Dotted paths of functions that return the first messages for a client.
    hello_messages: Sequence[str] = ()
    #: Who may connect.
    access: Access = "anyone"
    #: Dotted path of the function that returns the user of a token.
    authenticate: str = "turbo.pubsub.tokens.authenticate"
    #: Seconds for which a token of ``make_token`` is valid.
    token_max_age: int = 86_400
    #: Seconds within which a client without a session must send its token.
    token_timeout: float = 10.0
    #: Whether a token may also be in the URL, where logs and proxies can see it.
    query_token: bool = False
    #: Redis hosts, of which the first is used; ``None`` uses the channel layer's.
    redis_hosts: Any = None


def _validate(settings: PubSubSettings) -> PubSubSettings:
    if settings.access not in get_args(Access):
        raise ConfigurationError(
            f"TURBO['PUBSUB']['ACCESS'] is {settings.access!r}, which is not one of "
            f"{', '.join(map(repr, get_args(Access)))}."
        )
    for name in _PATHS:
        value = getattr(settings, name)
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(
                f"TURBO['PUBSUB'][{name.upper()!r}] is a list of dotted paths, not "
                f"{value!r}."
            )
    return settings


get_pubsub_settings = section_reader("PUBSUB", PubSubSettings, _validate)


def redis_host() -> Mapping[str, Any] | None:
    """
    Return the options of the Redis host for the messages, or ``None``.

    If there are several, it is the first one, so subscribers need only one address.
    """
    hosts = get_pubsub_settings().redis_hosts
    if hosts is None:
        if not layer_is_redis():
            return None
        hosts = layer_hosts()
    return read_hosts(hosts, owner="The Redis hosts of pub/sub")[0]
