"""The doctor finds what is wrong, and says it in plain words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.urls import path
from django.urls.base import set_script_prefix

from tests.checks.conftest import ListApps
from tests.support.servers import Project, Valkey, channel_layer
from turbo.asgi import get_application
from turbo.checks import installation
from turbo.checks.finding import Finding
from turbo.checks.installation import examine_installation
from turbo.checks.live import probe_all
from turbo.checks.websocket import probe_websocket
from turbo.consumers import TurboStreamsConsumer
from turbo.middleware import TurboMiddleware
from turbo.runtime import discovery
from turbo.streams import registry

# A connection that opens looks after those of the database that other tests left.
pytestmark = pytest.mark.django_db(transaction=True)

APPS = ["daphne", *django_settings.INSTALLED_APPS]
MIDDLEWARE = ["turbo.middleware.TurboMiddleware"]

django_alone = get_asgi_application()
empty_router = ProtocolTypeRouter({"websocket": URLRouter([])})
another_consumer = AsyncWebsocketConsumer.as_asgi()


async def closes(scope: Any, receive: Any, send: Any) -> None:
    """Serve nobody, and say nothing."""


def found(decision: str) -> list[str]:
    """Return what the installation is told with this decision."""
    return [f.text for f in examine_installation() if f.decision == decision]


async def probed() -> list[Finding]:
    return [finding async for finding in probe_all()]


def in_this_module(name: str) -> Any:
    return override_settings(ASGI_APPLICATION=f"tests.checks.test_doctor.{name}")


# --- The installation


def test_a_project_without_faults(
    settings: Any, list_apps: ListApps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_classes", {})  # those of other tests
    settings.MIDDLEWARE = MIDDLEWARE
    settings.DEBUG = True
    list_apps(APPS)

    findings = list(examine_installation())

    assert [finding for finding in findings if finding.decision != "ok"] == []
    assert findings[0].text == "The settings are in order."
    assert findings[-1].text == "The static file turbo/turbo-channels.js is found."


def test_what_the_system_checks_say_is_told(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}

    assert found("failure") == [
        "CHANNEL_LAYERS has no entry 'default', so nothing can be broadcast. "
        "(turbo.E001)"
    ]


def test_what_is_left_of_another_library_is_told(settings: Any) -> None:
    settings.TG_PUBSUB_PORT = 8090

    assert "TG_PUBSUB_PORT has no effect. (turbo.W017)" in found("warning")


def test_a_missing_middleware_is_told(settings: Any) -> None:
    settings.MIDDLEWARE = []

    assert found("warning")[-1].startswith("TurboMiddleware is not installed")


class OwnMiddleware(TurboMiddleware):
    """A middleware of a project."""


def test_a_middleware_may_be_a_subclass(settings: Any) -> None:
    settings.MIDDLEWARE = [
        "django.middleware.csrf.CsrfViewMiddleware",
        f"{__name__}.OwnMiddleware",
    ]

    assert "TurboMiddleware is installed." in found("ok")


def test_a_missing_template_is_told(settings: Any) -> None:
    settings.TEMPLATES = []

    assert "The template turbo/head.html is not found." in found("failure")


def test_files_that_are_not_looked_for_are_told(settings: Any) -> None:
    settings.STATICFILES_FINDERS = []

    [missing, *_] = [f for f in examine_installation() if f.decision == "failure"]

    assert missing.text == "The static file turbo/turbo.min.js is missing."
    assert missing.hint.endswith("AppDirectoriesFinder to STATICFILES_FINDERS.")


def test_files_that_the_package_lacks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "FILES", ["nothing.js"])

    [missing] = [f for f in examine_installation() if f.decision == "failure"]

    assert missing.text == "The static file turbo/nothing.min.js is missing."
    assert "Install the package from a wheel" in missing.hint


def test_files_that_are_not_collected_are_told(settings: Any, tmp_path: Any) -> None:
    settings.STATIC_ROOT = tmp_path

    assert (
        "The static file turbo/turbo.min.js has not been collected to STATIC_ROOT."
    ) in found("warning")


def test_staticfiles_itself_may_be_missing() -> None:
    without = ["django.contrib.auth", "django.contrib.contenttypes", "turbo"]
    with override_settings(INSTALLED_APPS=without):
        failures = found("failure")

    assert failures[-1] == (
        "django.contrib.staticfiles is not installed, so pages get no JavaScript."
    )


def test_a_project_without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", {})
    monkeypatch.setattr(discovery, "_classes", {})

    assert found("ok")[1].startswith("No streams are declared yet")


# --- Attempts


async def test_messages_get_through_in_one_process() -> None:
    findings = await probed()

    assert [finding.decision for finding in findings] == ["warning"] + ["ok"] * 4
    assert "works only within this process" in findings[0].text
    assert "reached a subscriber in" in findings[3].text


@pytest.mark.parametrize("kind", ["redis", "pubsub"])
async def test_messages_get_through_redis(
    settings: Any, valkey: Valkey, kind: str
) -> None:
    settings.CHANNEL_LAYERS = {"default": channel_layer(kind, valkey.url)}

    findings = await probed()

    assert [(f.decision, f.hint) for f in findings] == [("ok", "")] * 5


async def test_a_user_of_redis_who_may_not_ask_for_the_server(
    settings: Any, valkey: Valkey
) -> None:
    with valkey.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info"
        )
    url = valkey.url.replace("//", "//app:pw@")
    settings.CHANNEL_LAYERS = {"default": channel_layer("redis", url)}

    _, log, *_ = await probed()

    with valkey.client() as client:
        client.execute_command("ACL", "DELUSER", "app")
    assert log.decision == "warning"
    assert "does not notice a restart or a failover of Redis" in log.text


async def test_a_log_that_keeps_nothing(settings: Any) -> None:
    settings.TURBO = {"REPLAY_BACKEND": "turbo.replay.dummy.DummyReplay"}

    _, log, clock, round_trip, _ = await probed()

    assert (log.decision, log.text) == (
        "warning",
        "DummyReplay stores no messages: a page that was away refreshes itself.",
    )
    assert (clock.decision, round_trip.decision) == ("ok", "ok")


@pytest.mark.slow
async def test_without_redis_the_doctor_says_where_it_ends(
    settings: Any, valkey: Valkey
) -> None:
    settings.CHANNEL_LAYERS = {"default": channel_layer("redis", valkey.url)}
    valkey.kill()

    findings = await probed()

    assert [finding.decision for finding in findings] == ["failure"] * 4 + ["ok"]
    assert findings[0].text.startswith(
        "The channel layer does not answer: ConnectionError: "
    )
    assert findings[3].text.startswith("A broadcast did not reach its subscriber: ")


# --- The WebSocket


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("django_alone", "django_alone does not know the WebSocket path /ws/: "),
        ("empty_router", "empty_router does not know the WebSocket path /ws/: "),
        ("another_consumer", "is a WebSocket, but does not serve the streams."),
        ("closes", "refuses a WebSocket from a page of '127.0.0.1'."),
    ],
)
async def test_an_application_that_does_not_serve_the_streams(
    name: str, text: str
) -> None:
    with in_this_module(name):
        finding = await probe_websocket()

    assert finding.decision == "failure"
    assert text in finding.text


@pytest.mark.parametrize("hosts", [["*"], [".example.com"], []])
async def test_pages_come_from_an_allowed_host(
    settings: Any, monkeypatch: pytest.MonkeyPatch, hosts: list[str]
) -> None:
    settings.ALLOWED_HOSTS = hosts
    settings.DEBUG = not hosts
    monkeypatch.setitem(globals(), "whole_stack", get_application())

    with in_this_module("whole_stack"):
        finding = await probe_websocket()

    assert finding == Finding.ok(
        f"{__name__}.whole_stack at /ws/ serves the WebSocket of the streams."
    )


async def test_of_the_url_of_another_host_the_path_is_opened(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TURBO = {"WEBSOCKET_PATH": "wss://live.example.com/live/"}
    monkeypatch.setitem(globals(), "whole_stack", get_application())

    with in_this_module("whole_stack"):
        finding = await probe_websocket()

    assert finding == Finding.ok(
        f"{__name__}.whole_stack at /live/ serves the WebSocket of the streams."
    )


@pytest.fixture
def below_prefix(settings: Any) -> Iterator[None]:
    """A site below /site; Django sets the prefix when a command starts."""
    settings.FORCE_SCRIPT_NAME = "/site"
    set_script_prefix("/site")
    yield
    set_script_prefix("/")


@pytest.mark.usefixtures("below_prefix")
async def test_the_socket_is_opened_where_pages_open_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "whole_stack", get_application())

    with in_this_module("whole_stack"):
        finding = await probe_websocket()

    assert finding == Finding.ok(
        f"{__name__}.whole_stack at /site/ws/ serves the WebSocket of the streams."
    )


@pytest.mark.usefixtures("below_prefix")
@pytest.mark.parametrize(
    ("served", "missing", "verb"),
    [("ws/", "/site/ws/", "strips"), ("site/ws/", "/ws/", "leaves")],
)
async def test_an_application_that_knows_one_of_two_paths(
    monkeypatch: pytest.MonkeyPatch, served: str, missing: str, verb: str
) -> None:
    patterns = [path(served, TurboStreamsConsumer.as_asgi())]  # type: ignore[arg-type]
    router = ProtocolTypeRouter({"websocket": URLRouter(patterns)})
    monkeypatch.setitem(globals(), "half", router)

    with in_this_module("half"):
        finding = await probe_websocket()

    assert finding == Finding.warning(
        f"{__name__}.half serves the WebSocket of the streams at /{served}, but not at "
        f"{missing}. Pages open /site/ws/.",
        f"Use turbo.asgi.get_application(), which serves both; or make sure that the "
        f"proxy {verb} the prefix /site.",
    )


@pytest.mark.usefixtures("below_prefix")
async def test_an_application_that_knows_neither_path() -> None:
    with in_this_module("empty_router"):
        finding = await probe_websocket()

    assert "does not know the WebSocket path /site/ws/: " in finding.text


async def test_an_application_whose_import_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time

    def import_slowly(name: str) -> Any:
        monkeypatch.setattr(loop, "time", lambda: clock() + 60)
        monkeypatch.setitem(globals(), name, get_application())
        return globals()[name]

    monkeypatch.setitem(globals(), "__getattr__", import_slowly)

    with in_this_module("slow_stack"):
        *_, finding = await probed()

    assert finding == Finding.ok(
        f"{__name__}.slow_stack at /ws/ serves the WebSocket of the streams."
    )


def test_a_site_without_accounts(make_project: Callable[..., Project]) -> None:
    apps = ["django.contrib.staticfiles", "turbo"]
    project = make_project(
        INSTALLED_APPS=apps, MIDDLEWARE=[], ROOT_URLCONF="turbo.urls", DEBUG=True
    )

    told = project.manage("turbo_doctor").splitlines()

    assert told[-2:] == [
        "ok    tests.project.asgi.application at /ws/ serves the WebSocket of the "
        "streams.",
        "Messages get through.",
    ]


async def test_a_project_without_an_asgi_application(settings: Any) -> None:
    settings.ASGI_APPLICATION = None

    finding = await probe_websocket()

    assert finding.text.startswith("ASGI_APPLICATION is not set")


async def test_an_application_that_cannot_be_imported(settings: Any) -> None:
    settings.ASGI_APPLICATION = "tests.nowhere.application"

    *_, finding = await probed()

    assert finding.text == (
        "The ASGI application does not serve the WebSocket: ModuleNotFoundError: "
        "No module named 'tests.nowhere'"
    )


# --- The commands


def test_the_command_prints_each_finding() -> None:
    out = StringIO()

    call_command("turbo_doctor", stdout=out, no_color=True)

    lines = out.getvalue().splitlines()
    assert lines[-1] == "Messages get through."
    assert "ok    The static file turbo/turbo.min.js is found." in lines
    assert {line[:6] for line in lines[:-1]} == {"ok    ", "note  ", "      "}


def test_the_command_fails_if_anything_does() -> None:
    with in_this_module("django_alone"), pytest.raises(CommandError) as caught:
        call_command("turbo_doctor", stdout=StringIO())

    assert str(caught.value).startswith("1 of ")
    asyncio.set_event_loop(None)


@pytest.mark.slow
def test_the_command_in_a_process_of_its_own(
    make_project: Callable[..., Project],
) -> None:
    project = make_project("redis", DEBUG=True, MIDDLEWARE=MIDDLEWARE)

    assert project.manage("turbo_doctor").endswith("Messages get through.")

    project.settings["TURBO"] = {"REPLAY_HOSTS": ["redis://127.0.0.1:1"]}
    with pytest.raises(RuntimeError, match="The replay log does not answer"):
        project.manage("turbo_doctor")


def test_streams_are_listed() -> None:
    out = StringIO()

    call_command("turbo_streams", stdout=out)

    lines = [re.split("  +", line) for line in out.getvalue().splitlines()]
    title = ["STREAM", "MODEL", "ATTRIBUTE", "PERMISSION", "BROADCASTS", "OPTIONS"]
    assert lines[0] == title
    assert ["testapp:Announcements", "-", "-", "public", "-", "-"] in lines
    assert ["testapp:RoomStream", "testapp.Room", "stream", "tested", "-", "-"] in lines
    expected = ["testapp:PinStream", "testapp.Pin", "stream", "public"]
    assert [*expected, "refreshes, to board", "-"] in lines
    expected = ["testapp:MessageStream", "testapp.Message", "stream", "public"]
    assert [*expected, "on_save, on_delete", "-"] in lines
    expected = ["testapp:Forum", "-", "-", "public", "-"]
    assert [*expected, "audiences member moderator"] in lines
    expected = ["testapp:Lounge", "-", "-", "tested", "-"]
    assert [*expected, "presence"] in lines
    expected = ["testapp:Cafe", "-", "-", "public", "-"]
    assert [*expected, "whispers typing secret broken"] in lines
