"""What can be known at start is said at start, with an id and a hint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import checks as django_checks
from django.test import override_settings

from tests.checks.conftest import ListApps
from tests.support.documents import DOCS, blocks
from tests.support.servers import Project, channel_layer
from turbo.checks.setup import check_reach, check_setup
from turbo.checks.streams import check_permissions, check_streams

MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
APPS = ["daphne", *settings.INSTALLED_APPS]


def ids(**overrides: Any) -> list[str]:
    """Return the ids that a project with these settings is told."""
    good = {
        "DEBUG": True,
        "CHANNEL_LAYERS": MEMORY,
        "ASGI_APPLICATION": "x.asgi",
        "TURBO": {},
        "ALLOWED_HOSTS": ["example.com"],
    }
    with override_settings(**good | overrides):
        found = check_setup()
    assert all(message.hint for message in found)
    return [message.id for message in found]


@pytest.fixture
def with_daphne(list_apps: ListApps) -> None:
    list_apps(APPS)


@pytest.mark.usefixtures("with_daphne")
def test_a_good_project_hears_nothing() -> None:
    assert ids() == []


def test_an_inspector_that_is_not_installed(
    make_project: Callable[..., Project],
) -> None:
    apps = [app for app in settings.INSTALLED_APPS if app != "turbo.inspector"]
    project = make_project(INSTALLED_APPS=apps, TURBO={"INSPECTOR": "staff"})

    found = project.shell(
        "from turbo.checks.setup import check_setup; "
        "print([message.id for message in check_setup()])"
    )

    assert "turbo.W026" in found


@pytest.mark.usefixtures("with_daphne")
def test_tests_run_in_one_process() -> None:
    """Although the test runner turns ``DEBUG`` off."""
    assert ids(DEBUG=False, ALLOWED_HOSTS=["testserver"]) == []


@pytest.mark.usefixtures("with_daphne")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"CHANNEL_LAYERS": {}}, ["turbo.E001"]),
        ({"TURBO": {"CHANNEL_LAYER": "live"}}, ["turbo.E001"]),
        ({"DEBUG": False}, ["turbo.W002"]),
        ({"ASGI_APPLICATION": None}, ["turbo.W004"]),
        ({"TURBO": {"MAX_STREMS": 3}}, ["turbo.E009"]),
        ({"TURBO": {"REPLAY_LENGTH": 0}}, ["turbo.W020"]),
        ({"TURBO": {"INSPECTOR": "staff"}}, []),
        ({"TURBO": {"INSPECTOR": "all"}}, ["turbo.E025"]),
        (
            {
                "CHANNEL_LAYERS": {
                    "default": {
                        "BACKEND": "channels_redis.core.RedisChannelLayer",
                        "CONFIG": {"hosts": [("127.0.0.1", 6379)]},
                    }
                }
            },
            ["turbo.W008"],
        ),
        (
            {
                "CHANNEL_LAYERS": {
                    "default": channel_layer("redis", "redis://127.0.0.1:6379")
                }
            },
            [],
        ),
    ],
)
def test_what_is_wrong_is_told(overrides: dict[str, Any], expected: list[str]) -> None:
    assert ids(**overrides) == expected


@pytest.mark.usefixtures("with_daphne")
def test_several_processes_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")

    assert ids() == ["turbo.W002"]


@pytest.mark.parametrize(
    "apps",
    [
        ["django.contrib.staticfiles", "turbo"],
        ["django.contrib.staticfiles", "daphne", "turbo"],
    ],
)
def test_daphne_comes_before_staticfiles(list_apps: ListApps, apps: list[str]) -> None:
    list_apps(apps)

    assert ids() == ["turbo.W003"]


def test_the_checks_are_registered() -> None:
    registered = django_checks.registry.registry

    assert {check_setup, check_streams} <= registered.registered_checks
    assert {check_permissions, check_reach} <= registered.deployment_checks


# --- What is only looked at before deployment: who may come in, who shares the Redis

REDIS = "redis://127.0.0.1:6379"
OWN = {"REPLAY_PREFIX": "chat"}


def layers(kind: str, url: str = REDIS, **config: Any) -> dict[str, Any]:
    layer = channel_layer(kind, url)
    return {"default": layer | {"CONFIG": layer["CONFIG"] | config}}


REMOTE = "redis://10.0.0.5:6379"
SENTINEL = {"sentinels": [("10.0.0.6", 26379)], "master_name": "chat"}


def remote(host: Any) -> dict[str, Any]:
    """Return a layer with a prefix of its own on this host."""
    return layers("pubsub", prefix="chat", hosts=[host])


def told_before_deployment(**overrides: Any) -> list[tuple[str, str]]:
    """Return ids and the beginnings of what a project with these settings is told."""
    good = {
        "ALLOWED_HOSTS": ["chat.example.com"],
        "ASGI_APPLICATION": "x.asgi",
        "CHANNEL_LAYERS": layers("redis", prefix="chat"),
        "TURBO": OWN,
    }
    with override_settings(**good | overrides):
        found = check_reach()
    assert all(message.hint for message in found)
    return [(message.id, " ".join(message.msg.split()[:6])) for message in found]


@pytest.mark.usefixtures("with_daphne")
def test_the_settings_of_the_deployment_how_to_are_good() -> None:
    """Both channel layers that it shows."""
    found = blocks(DOCS / "howto/deployment.rst", "python")
    shown: dict[str, Any] = {"BASE_DIR": Path()}
    layers_shown = [block for block in found if "CHANNEL_LAYERS" in block.code]
    assert len(layers_shown) == 2
    for block in layers_shown:
        exec(block.code.replace('os.environ["SECRET_KEY"]', "''"), shown)
        names = ("ALLOWED_HOSTS", "CHANNEL_LAYERS", "DEBUG", "TURBO")
        overrides = {name: shown[name] for name in names}

        assert told_before_deployment(**overrides) == []
        assert ids(**overrides) == []


KEEPALIVE = ("turbo.W023", "The channel layer's Redis is on")
HOSTS = ("turbo.W015", "ALLOWED_HOSTS has '*', so WebSockets are")
LAYER = ("turbo.W022", "The prefix of the channel layer")
REPLAY = ("turbo.W022", "The prefix of the replay log")


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"CHANNEL_LAYERS": layers("pubsub", prefix="chat")},
        {"CHANNEL_LAYERS": layers("redis", f"{REDIS}/3"), "TURBO": {}},
        {"CHANNEL_LAYERS": MEMORY, "TURBO": {}},
        {"ALLOWED_HOSTS": ["*"], "ASGI_APPLICATION": None},
        {"CHANNEL_LAYERS": remote({"address": REMOTE, "socket_keepalive": True})},
        {"CHANNEL_LAYERS": remote({"address": "unix:///run/redis.sock"})},
    ],
)
def test_a_site_that_keeps_to_itself_hears_nothing(overrides: dict[str, Any]) -> None:
    """A prefix of its own, a database of its own, no Redis, or no WebSockets."""
    assert told_before_deployment(**overrides) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"ALLOWED_HOSTS": ["a.example.com", "*"]}, [HOSTS]),
        ({"CHANNEL_LAYERS": remote({"address": REMOTE})}, [KEEPALIVE]),
        ({"CHANNEL_LAYERS": remote(("10.0.0.5", 6379))}, [KEEPALIVE]),
        ({"CHANNEL_LAYERS": remote(SENTINEL)}, [KEEPALIVE]),
        ({"CHANNEL_LAYERS": layers("redis")}, [LAYER]),
        ({"CHANNEL_LAYERS": layers("redis", prefix="asgi")}, [LAYER]),
        ({"TURBO": {}}, [REPLAY]),
        ({"TURBO": {"REPLAY_HOSTS": [("127.0.0.1", 6380)]}}, [REPLAY]),
        # Pub/sub of Redis knows no databases, and the keys of the log do.
        ({"CHANNEL_LAYERS": layers("pubsub", f"{REDIS}/3"), "TURBO": {}}, [LAYER]),
        ({"CHANNEL_LAYERS": layers("redis"), "TURBO": {}}, [LAYER, REPLAY]),
    ],
)
def test_what_is_open_to_others_is_told_before_deployment(
    overrides: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert told_before_deployment(**overrides) == expected


@pytest.mark.parametrize(
    "overrides",
    [
        {"CHANNEL_LAYERS": layers("redis") | {"default": {"BACKEND": "no.Such"}}},
        {"CHANNEL_LAYERS": layers("redis", hosts="redis://localhost")},
        {"TURBO": {"MAX_STREMS": 3}},
    ],
)
def test_what_cannot_be_read_is_left_to_the_other_checks(
    overrides: dict[str, Any],
) -> None:
    assert told_before_deployment(**overrides) == []


TENANTS = {
    "NAMESPACE": "tests.support.tenants.current_tenant",
    "ENTER_NAMESPACE": "tests.support.tenants.tenant",
    "FIND_NAMESPACE": "tests.support.tenants.tenant_of_scope",
}


@pytest.mark.usefixtures("with_daphne")
@pytest.mark.parametrize(
    ("turbo", "expected"),
    [
        ({}, []),
        ({"NAMESPACE": "no.such.module"}, ["turbo.E070"]),
        ({"FIND_NAMESPACE": 7}, ["turbo.E070"]),
        ({"NAMESPACE": lambda: "a b"}, ["turbo.E070"]),
        ({"NAMESPACE": lambda: 1 / 0}, ["turbo.E070"]),
        ({"ENTER_NAMESPACE": None}, ["turbo.W071"]),
        ({"ENTER_NAMESPACE": None, "FIND_NAMESPACE": None}, ["turbo.W071"]),
    ],
)
def test_the_functions_for_tenants(turbo: dict[str, Any], expected: list[str]) -> None:
    assert ids(TURBO=TENANTS | turbo) == expected
