"""In development, a page with streams and without a client is told in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest
from django.template import RequestContext, Template
from django.test import AsyncRequestFactory, RequestFactory

from tests.support.clients import Socket
from tests.testapp.streams import Announcements, Counter
from turbo.connections import missing_client
from turbo.connections.missing_client import DELAY, Pages, expect_client

DOCUMENT = {"Sec-Fetch-Dest": "document"}


class Timers:
    """A clock that the test sets, and the timers that were started."""

    def __init__(self) -> None:
        self.now = 100.0
        self.started: list[Callable[[], None]] = []

    def start(self, seconds: float, callback: Callable[[], None]) -> None:
        assert seconds == DELAY
        self.started.append(callback)

    def read(self) -> float:
        return self.now

    def fire(self) -> None:
        """Let the time pass, and call the only timer."""
        self.now += DELAY
        [callback] = self.started
        self.started.clear()
        callback()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def pages(timers: Timers, monkeypatch: pytest.MonkeyPatch) -> Pages:
    made = Pages(timers.start, timers.read)
    monkeypatch.setattr(missing_client, "_pages", made)
    return made


def told(path: str) -> str:
    return (
        f"The page {path} has streams, but the browser has not subscribed to them "
        f'within 30 s. Load the client in the <head>: {{% include "turbo/head.html" %}}'
        f". If it is there, see the console of the browser."
    )


def test_a_page_that_does_not_subscribe_is_told(
    pages: Pages, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    pages.add("a~1", "/rooms/1/")
    pages.add("b~1", "/rooms/1/")

    timers.fire()

    assert caplog.messages == [told("/rooms/1/")]
    assert timers.started == []


def test_only_one_page_is_told(
    pages: Pages, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    pages.add("a~1", "/rooms/1/")
    pages.add("b~1", "/rooms/2/")
    timers.fire()
    pages.add("c~1", "/rooms/3/")

    assert timers.started == []
    assert caplog.messages == [told("/rooms/1/")]


def test_a_page_that_subscribes_to_one_name_has_a_client(
    pages: Pages, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    pages.add("a~1", "/rooms/1/")
    pages.add("b~1", "/rooms/1/")
    pages.remove(["b~1", "another"])
    pages.remove(["b~1"])

    timers.fire()

    assert caplog.messages == []
    assert timers.started == []


def test_a_later_page_has_its_own_time(
    pages: Pages, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    pages.add("a~1", "/rooms/1/")
    pages.remove(["a~1"])
    timers.now += 20
    pages.add("b~1", "/rooms/2/")

    timers.now -= 20  # the first timer fires at its time
    timers.fire()
    assert caplog.messages == []
    timers.fire()

    assert caplog.messages == [told("/rooms/2/")]


def test_the_number_of_names_is_limited(
    pages: Pages, monkeypatch: pytest.MonkeyPatch, timers: Timers
) -> None:
    monkeypatch.setattr(missing_client, "MOST", 1)
    pages.add("a~1", "/rooms/1/")
    pages.add("b~1", "/rooms/2/")
    pages.remove(["a~1"])

    timers.fire()

    assert timers.started == []


# --- Which requests count


def asgi(**headers: str) -> HttpRequest:
    return AsyncRequestFactory().get("/rooms/1/", headers=headers)


@pytest.mark.parametrize(
    ("request_", "counts"),
    [
        (asgi(**DOCUMENT), True),
        (asgi(), False),
        (asgi(**{"Sec-Fetch-Dest": "empty"}), False),
        (asgi(**DOCUMENT, **{"Sec-Purpose": "prefetch"}), False),
        (RequestFactory().get("/rooms/1/", headers=DOCUMENT), False),
        (None, False),
    ],
)
@pytest.mark.parametrize("debug", [True, False])
def test_only_what_a_browser_shows_counts(
    settings: Any,
    pages: Pages,
    timers: Timers,
    request_: Any,
    counts: bool,
    debug: bool,
) -> None:
    settings.DEBUG = debug

    expect_client(request_, "a~1")

    assert len(timers.started) == (counts and debug)


def test_the_tag_expects_a_client(
    settings: Any, pages: Pages, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = True
    source = '{% load turbo_streams %}{% turbo_subscribe "testapp:Announcements" %}'

    Template(source).render(RequestContext(asgi(**DOCUMENT)))
    timers.fire()

    assert caplog.messages == [told("/rooms/1/")]


@pytest.mark.django_db(transaction=True)
async def test_a_socket_that_subscribes_is_a_client(
    pages: Pages, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    signed = Announcements().signed_stream_name
    pages.add(signed, "/rooms/1/")
    pages.add(Counter(3).signed_stream_name, "/rooms/1/")

    async with Socket() as socket:
        await socket.subscribe(signed)
    timers.fire()

    assert caplog.messages == []
