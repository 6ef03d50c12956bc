"""The whole ASGI stack in one line, and the pieces alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from channels.routing import URLRouter
from channels.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    WebsocketCommunicator,
)
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings
from django.urls import path, re_path

import turbo
from tests.support.rooms import modules
from tests.support.servers import PATIENCE, ROOT
from tests.testapp.streams import Announcements
from turbo import routing
from turbo.asgi import get_application
from turbo.consumers import TurboStreamsConsumer
from turbo.runtime import endings
from turbo.runtime.log_once import _last

pytestmark = pytest.mark.django_db(transaction=True)


def visit(application: Any, path: str, origin: str) -> WebsocketCommunicator:
    host = urlsplit(origin).netloc or "testserver"
    headers = [(b"host", host.encode())]
    headers += [(b"origin", origin.encode())] if origin else []
    return WebsocketCommunicator(application, path, headers=headers)


async def connects(application: Any, path: str = "/ws/", origin: str = "") -> bool:
    communicator = visit(application, path, origin)
    connected, _ = await communicator.connect(PATIENCE)
    if connected:
        await communicator.disconnect(timeout=PATIENCE)
    return connected


async def test_pages_of_allowed_hosts_connect_and_others_do_not() -> None:
    application = get_application()

    with override_settings(ALLOWED_HOSTS=["good.example"]):
        application = get_application()
        assert await connects(application, origin="http://good.example")
        assert not await connects(application, origin="http://evil.example")
        assert not await connects(application)


async def test_what_waits_is_sent_before_the_lifespan_ends() -> None:
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    communicator = ApplicationCommunicator(get_application(), scope)
    answers = []

    for event in ("startup", "shutdown"):
        await communicator.send_input({"type": f"lifespan.{event}"})
        answers.append(await communicator.receive_output(PATIENCE))
        Announcements().append(text="now", id="list")
    await communicator.wait(PATIENCE)

    assert [answer["type"] for answer in answers] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert turbo.flush(PATIENCE)
    assert not endings.has_begun(), "the process may go on, as this one does"


async def test_http_goes_to_django() -> None:
    communicator = HttpCommunicator(get_application(), "GET", "/")

    response = await communicator.get_response()
    await communicator.wait(PATIENCE)

    assert response["body"] == b"ok"


#: Named by its dotted path below.
own_urlpatterns = [path("more/", TurboStreamsConsumer.as_asgi())]  # type: ignore[arg-type]


async def test_further_consumers_can_be_named_by_their_path() -> None:
    application = get_application("tests.test_asgi.own_urlpatterns")

    assert await connects(application, "/more/", "http://testserver")
    assert await connects(application, "/ws/", "http://testserver")


another: Any = TurboStreamsConsumer.as_asgi()


@pytest.mark.parametrize(
    ("patterns", "shadowed"),
    [
        ([path("ws/", another)], ["ws/"]),
        ([path("more/", another), re_path(r"^ws/$", another)], ["^ws/$"]),
        ([path("ws/", URLRouter([path("", another)]))], ["ws/"]),
        ([path("ws/", URLRouter([path("own/", another)]))], []),
        ([path("ws/own/", another)], []),
        ([re_path("", another)], []),
        ([path("<path:anywhere>", another)], []),
        ([*routing.get_websocket_urlpatterns()], []),
    ],
)
def test_a_consumer_at_the_path_of_the_streams_is_told(
    patterns: list[Any], shadowed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: it was never called, and nobody said so."""
    get_application(patterns)

    assert caplog.messages == [
        f"The consumer at {route} is never called, because the streams of pages are "
        f"at /ws/. Use another path for it, or set TURBO['WEBSOCKET_PATH']."
        for route in shadowed
    ]


async def test_further_consumers_find_the_user_in_their_scope() -> None:
    asked: list[Any] = []

    async def own(scope: Any, receive: Any, send: Any) -> None:
        asked.append((scope["path"], scope["user"], scope["url_route"]["kwargs"]))
        await send({"type": "websocket.close"})

    patterns = [path("own/<int:pk>/", own)]  # type: ignore[arg-type]
    application = get_application(patterns)

    assert not await connects(application, "/own/3/", "http://testserver")
    assert asked == [("/own/3/", AnonymousUser(), {"pk": 3})]
    assert await connects(application, "/ws/", "http://testserver")


@pytest.mark.parametrize("patterns", ["", "tests.test_asgi.own_urlpatterns"])
async def test_a_path_that_leads_nowhere_is_refused_and_logged_once_a_minute(
    patterns: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: each was an error 500 with a traceback in the log."""
    _last.clear()
    application = get_application(patterns or ())

    for place in ("/nowhere/", "/more", "//", "/\x00%s"):
        assert not await connects(application, place, "http://testserver")

    assert [record.getMessage() for record in caplog.records] == [
        "A WebSocket was refused: no consumer is at '/nowhere/'."
    ]


async def test_the_path_is_the_settings() -> None:
    with override_settings(TURBO={"WEBSOCKET_PATH": "/live/"}):
        (pattern,) = routing.websocket_urlpatterns
        assert await connects(get_application(), "/live/", "http://testserver")

    assert str(pattern.pattern) == "live/"
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        routing.other  # noqa: B018


async def test_of_the_url_of_another_host_the_path_counts() -> None:
    with override_settings(TURBO={"WEBSOCKET_PATH": "wss://live.example.com/live/"}):
        (pattern,) = routing.websocket_urlpatterns
        assert await connects(get_application(), "/live/", "http://testserver")

    assert str(pattern.pattern) == "live/"


async def test_a_site_below_a_path_of_its_own_has_its_streams_there() -> None:
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    communicator = WebsocketCommunicator(
        get_application(), "/site/ws/", headers=headers
    )
    communicator.scope["root_path"] = "/site"

    connected, _ = await communicator.connect(PATIENCE)

    assert connected
    await communicator.disconnect(timeout=PATIENCE)


@pytest.mark.parametrize("path", ["/site/ws/", "/ws/"])
@pytest.mark.parametrize(
    "prefix", [{"FORCE_SCRIPT_NAME": "/site"}, {"root_path": "/site"}]
)
@pytest.mark.parametrize("setting", ["/ws/", "/site/ws/"])
async def test_a_proxy_may_strip_the_prefix_of_the_site(
    settings: Any, path: str, prefix: dict[str, str], setting: str
) -> None:
    """Regression: no setting worked for a proxy that strips it."""
    settings.FORCE_SCRIPT_NAME = prefix.get("FORCE_SCRIPT_NAME")
    if settings.FORCE_SCRIPT_NAME:
        settings.TURBO = {"WEBSOCKET_PATH": setting}
    application = get_application("tests.test_asgi.own_urlpatterns")
    more = path.replace("ws", "more")

    for place in (path, more):
        communicator = visit(application, place, "http://testserver")
        communicator.scope["root_path"] = prefix.get("root_path", "")
        connected, _ = await communicator.connect(PATIENCE)
        assert connected
        await communicator.disconnect(timeout=PATIENCE)


@pytest.mark.parametrize("path", ["/site/ws/", "/ws/"])
async def test_patterns_below_a_prefix_serve_both_paths(
    settings: Any, path: str
) -> None:
    settings.FORCE_SCRIPT_NAME = "/site"

    assert await connects(URLRouter(routing.websocket_urlpatterns), path)


async def test_the_consumer_works_alone_and_only_for_websockets() -> None:
    application = TurboStreamsConsumer.as_asgi()

    assert await connects(application)
    with pytest.raises(ValueError, match="serves WebSockets, not 'http'"):
        await application({"type": "http"}, None, None)  # type: ignore[arg-type]


def test_the_stack_can_be_imported_before_django_is_set_up() -> None:
    code = "from turbo.asgi import get_application; get_application(); print('ok')"
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": "/usr/bin"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )

    assert done.stdout == "ok\n", done.stderr


def test_importing_turbo_loads_no_redis_no_daphne_and_no_rest_framework() -> None:
    code = (
        "import sys, turbo\n"
        "print([n for n in ('redis', 'daphne', 'rest_framework') if n in sys.modules])"
    )
    env = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": "/usr/bin"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )

    assert done.stdout == "[]\n", done.stderr


#: What only extras bring, and Daphne's and Channels' other requirements do not.
EXTRAS = ["jinja2", "rest_framework", "uvicorn", "websockets"]
#: What needs one of them, beside the observers.
LEFT_OUT = ["bindings.overrides", "bindings.viewsets", "server.uvicorn"]
LEFT_OUT += ["jinja2", "jinja2.extension"]
APPS = ["daphne", "turbo", "turbo.bindings", "turbo.database", "turbo.inspector"]
APPS += ["turbo.pubsub"]


def test_what_needs_no_extra_works_without_them() -> None:
    """Regression: the app could not start where uvicorn was not installed."""
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({EXTRAS}))  # as if they were not installed
from django.conf import settings
settings.configure(
    INSTALLED_APPS={APPS},
    ROOT_URLCONF="turbo.urls",
    SECRET_KEY="secret",
    CHANNEL_LAYERS={{"default": {{"BACKEND": "channels.layers.InMemoryChannelLayer"}}}},
)
import django
django.setup()
from turbo.asgi import get_application
get_application()
from django.core.management import call_command
call_command("check")
for name in {sorted(modules())}:
    try:
        importlib.import_module(f"turbo.{{name}}".strip("."))
    except ImportError:
        print(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )

    needing = [name for name in done.stdout.split() if name not in LEFT_OUT]
    assert done.returncode == 0, done.stderr
    assert [name for name in needing if not name.startswith("observers")] == []
