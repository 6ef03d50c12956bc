"""What the clients of Redis, with and without a loop, have in common."""

from __future__ import annotations

import socket

import pytest
from redis.exceptions import NoScriptError, ResponseError

from turbo.exceptions import ConfigurationError
from turbo.runtime.redis.hosts import read_hosts
from turbo.runtime.redis.options import connection_options
from turbo.runtime.redis.script import Script, results, unknown


def test_a_script_is_named_by_its_digest_or_sent_whole() -> None:
    script = Script("return 1")

    assert script.command(["a", "b"], [3], whole=False) == (
        "EVALSHA",
        "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
        2,
        "a",
        "b",
        3,
    )
    assert script.command([], [], whole=True) == ("EVAL", "return 1", 0)


def test_the_scripts_that_a_server_does_not_know_are_found() -> None:
    assert unknown([1, NoScriptError("no"), None, NoScriptError("no")]) == [1, 3]
    assert unknown([]) == []


def test_the_first_reply_that_is_an_error_is_raised() -> None:
    assert results([1, None]) == [1, None]
    with pytest.raises(ResponseError, match="first"):
        results([1, ResponseError("first"), ResponseError("second")])


def test_a_timeout_holds_where_the_host_has_none_of_its_own() -> None:
    options = connection_options({"socket_timeout": 3.0}, timeout=1.0)

    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (3.0, 1.0)


@pytest.mark.parametrize("host", [{"address": "redis://x"}, {"host": "x"}])
def test_connections_are_kept_alive(host: dict[str, str]) -> None:
    """A connection whose other end has gone is found dead."""
    options = connection_options(host)

    assert options["socket_keepalive"] is True
    assert options["socket_keepalive_options"][socket.TCP_KEEPIDLE] == 5


def test_a_host_may_be_kept_alive_in_its_own_way() -> None:
    given = {"host": "x", "socket_keepalive": False}

    assert connection_options(given).items() >= given.items()
    assert "socket_keepalive_options" not in connection_options(given)


@pytest.mark.parametrize("host", [{"address": "unix:///x"}, {"path": "/x"}])
def test_a_unix_socket_is_not_kept_alive(host: dict[str, str]) -> None:
    """Redis' client would refuse the option."""
    assert "socket_keepalive" not in connection_options(host)


def test_only_the_replay_log_may_be_in_a_cluster() -> None:
    cluster = [{"cluster": [("10.0.0.1", 6379)]}]

    assert read_hosts(cluster, owner="These hosts", clusters=True) == cluster
    with pytest.raises(ConfigurationError, match="These hosts cannot be a cluster"):
        read_hosts(cluster, owner="These hosts")
