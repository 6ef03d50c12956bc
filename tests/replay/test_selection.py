"""Which replay log a process uses, by its settings."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from tests.support.servers import PATIENCE
from turbo.exceptions import ConfigurationError
from turbo.replay import check_replay, get_replay
from turbo.replay.dummy import DummyReplay
from turbo.replay.memory import MemoryReplay
from turbo.replay.redis import RedisReplay

REDIS_LAYER = {
    "BACKEND": "channels_redis.core.RedisChannelLayer",
    "CONFIG": {"hosts": [("127.0.0.1", 6390)]},
}
MEMORY_LAYER = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
REDIS_BACKEND = "turbo.replay.redis.RedisReplay"


class OwnLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """A layer that a site has derived."""


def test_get_replay_is_one_per_process(settings: Any) -> None:
    """Until a setting changes that decides what it is."""
    settings.TURBO = {"REPLAY_LENGTH": 7}
    log = get_replay()
    assert get_replay() is log
    assert log.length == 7

    settings.USE_TZ = False
    assert get_replay() is log
    settings.TURBO = {"REPLAY_AGE": 8}

    assert get_replay() is not log
    assert get_replay().age == 8


@pytest.mark.parametrize(
    ("layers", "log_class"),
    [
        ({}, MemoryReplay),
        ({"default": MEMORY_LAYER}, MemoryReplay),
        ({"default": REDIS_LAYER}, RedisReplay),
        (
            {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}},
            RedisReplay,
        ),
        ({"default": {"BACKEND": f"{__name__}.OwnLayer"}}, RedisReplay),
    ],
    ids=["none", "memory", "redis", "pubsub", "derived"],
)
def test_get_replay_follows_the_channel_layer(
    settings: Any, layers: dict[str, Any], log_class: type[Any]
) -> None:
    """Nobody has to name Redis twice."""
    settings.CHANNEL_LAYERS = layers
    settings.TURBO = {}

    assert type(get_replay()) is log_class
    assert check_replay() == []


def test_get_replay_uses_the_layers_hosts(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": REDIS_LAYER}
    settings.TURBO = {"REPLAY_PREFIX": "site", "SIGNED_NAME_MAX_AGE": 60}

    assert RedisReplay.options() == {
        "text_age": 3_600,
        "hosts": [("127.0.0.1", 6390)],
        "prefix": "site",
        "length": 100,
        "age": 300,
        "memory": 60,
    }


def test_get_replay_may_use_other_hosts(settings: Any) -> None:
    """Messages may travel over one Redis and be kept in another."""
    settings.CHANNEL_LAYERS = {"default": REDIS_LAYER}
    settings.TURBO = {"REPLAY_HOSTS": ["redis://b"]}

    assert RedisReplay.options()["hosts"] == ["redis://b"]


def test_get_replay_takes_any_backend(settings: Any) -> None:
    settings.TURBO = {"REPLAY_BACKEND": "turbo.replay.dummy.DummyReplay"}

    assert type(get_replay()) is DummyReplay


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"REPLAY_BACKEND": REDIS_BACKEND}, "'default' is not one of channels-redis"),
        ({"REPLAY_BACKEND": REDIS_BACKEND, "REPLAY_HOSTS": "x"}, "list of Redis hosts"),
        ({"REPLAY_BACKEND": "turbo.replay.nowhere.Log"}, "turbo.replay.nowhere"),
        ({"REPLAY_BACKEND": "turbo.conf.Settings"}, "is not a ReplayLog"),
        ({"REPLAY_BACKEND": "turbo.conf.get_settings"}, "is not a ReplayLog"),
        ({"REPLAY_LENGTH": 0}, "must be positive"),
    ],
)
def test_check_replay_names_what_cannot_work(
    settings: Any, options: dict[str, Any], problem: str
) -> None:
    """At start it is a warning, and at run time an error of the same words."""
    settings.CHANNEL_LAYERS = {"default": MEMORY_LAYER}
    settings.TURBO = options

    [warning] = check_replay()

    assert warning.id == "turbo.W020"
    assert problem in warning.msg
    with pytest.raises((ConfigurationError, ImportError), match=problem):
        get_replay()


@pytest.mark.parametrize(
    ("layer", "backend", "ids"),
    [
        (REDIS_LAYER, "turbo.replay.memory.MemoryReplay", ["turbo.W021"]),
        (REDIS_LAYER, "turbo.replay.dummy.DummyReplay", []),
        (MEMORY_LAYER, "turbo.replay.memory.MemoryReplay", []),
    ],
)
def test_check_replay_finds_a_log_that_reaches_less_far_than_the_layer(
    settings: Any, layer: Any, backend: str, ids: list[str]
) -> None:
    settings.CHANNEL_LAYERS = {"default": layer}
    settings.TURBO = {"REPLAY_BACKEND": backend}

    assert [warning.id for warning in check_replay()] == ids


def test_import_loads_no_redis() -> None:
    """Who does not use Redis does not pay for it."""
    code = "import sys, turbo.replay; print('redis' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )

    assert done.stdout == "False\n", done.stderr
