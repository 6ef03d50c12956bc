"""``request.turbo`` says what Turbo says, and the answer says what was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from turbo.middleware import TurboDetails, TurboMiddleware
from turbo.replay.dummy import DummyReplay
from turbo.runtime.context import current_since, request_id

TURBO_STREAMS = "text/vnd.turbo-stream.html, text/html"


class ReplayThatKnowsNothing(DummyReplay):
    """A log that was never reached."""

    def moment(self) -> str:
        return ""


def make(**headers: str) -> HttpRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestFactory().get("/", headers=names)


def details(**headers: str) -> TurboDetails:
    return TurboDetails(make(**headers))


def answer(read: Callable[[TurboDetails], Any], **headers: str) -> HttpResponse:
    """Send a request to a view that reads something of ``request.turbo``."""

    def view(request: HttpRequest) -> HttpResponse:
        read(request.turbo)
        return HttpResponse()

    response: HttpResponse = TurboMiddleware(view)(make(**headers))
    return response


# --- The details


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"Accept": "*/*"}, False),
        ({"Accept": TURBO_STREAMS}, True),
        ({"Turbo_Frame": "tray"}, True),
        ({"X_Turbo_Request_Id": "a1"}, True),
    ],
)
def test_bool(headers: dict[str, str], expected: bool) -> None:
    assert bool(details(**headers)) is expected


@pytest.mark.parametrize("id", ["tray", "room_1", "chat:Banner", "_top", "é", "a.b/c"])
def test_frame(id: str) -> None:
    assert details(Turbo_Frame=id).frame == id


def test_frame_of_a_request_without() -> None:
    assert details().frame is None
    assert details(Turbo_Frame="").frame is None


@pytest.mark.parametrize(
    "value",
    ["<script>alert(1)</script>", 'x" onload="alert(1)', "a b", "x'", "x" * 257],
)
def test_a_frame_that_cannot_be_an_id_is_refused(value: str) -> None:
    turbo = details(Turbo_Frame=value)

    with pytest.raises(BadRequest) as caught:
        _ = turbo.frame

    assert str(caught.value) == (
        f"The Turbo-Frame header is not an id: {value[:80]!r}."
    )
    assert bool(turbo) is True


@pytest.mark.parametrize(
    ("accept", "expected"), [(TURBO_STREAMS, True), ("text/html, */*", False)]
)
def test_accepts_streams(accept: str, expected: bool) -> None:
    assert details(Accept=accept).accepts_streams is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0e1f8c36-94e5-4a8f-8a5c-2d3f8a1b7c11",) * 2,
        ("", None),
        ('x"><script>', None),
        ("x" * 65, None),
    ],
)
def test_request_id(value: str, expected: str | None) -> None:
    assert details(X_Turbo_Request_Id=value).request_id == expected


@pytest.mark.parametrize(
    ("agent", "expected"), [("Hotwire Native iOS", True), ("Firefox", False)]
)
def test_native(agent: str, expected: bool) -> None:
    assert details(User_Agent=agent).native is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X_Sec_Purpose": "prefetch"}, True),
        ({"Sec_Purpose": "prefetch;prerender"}, True),
        ({"Sec_Purpose": "Prefetch"}, True),
        ({"Sec_Purpose": "none"}, False),
        ({}, False),
    ],
)
def test_prefetch(headers: dict[str, str], expected: bool) -> None:
    assert details(**headers).prefetch is expected


# --- Vary


@pytest.mark.parametrize(
    ("read", "vary"),
    [
        (lambda turbo: turbo.frame, "Turbo-Frame"),
        (lambda turbo: turbo.accepts_streams, "Accept"),
        (lambda turbo: turbo.request_id, "X-Turbo-Request-Id"),
        (lambda turbo: turbo.native, "User-Agent"),
        (lambda turbo: turbo.prefetch, "X-Sec-Purpose, Sec-Purpose"),
        (lambda turbo: (turbo.native, turbo.frame), "User-Agent, Turbo-Frame"),
        (bool, "Turbo-Frame, Accept, X-Turbo-Request-Id"),
    ],
)
def test_vary_names_what_was_read(
    read: Callable[[TurboDetails], Any], vary: str
) -> None:
    assert answer(read).headers["Vary"] == vary


def test_vary_names_no_more_than_what_was_needed() -> None:
    assert answer(bool, Turbo_Frame="x").headers["Vary"] == "Turbo-Frame"


def test_vary_is_not_set_when_nothing_was_read() -> None:
    response = answer(lambda turbo: turbo.since, X_Turbo_Request_Id="a1")

    assert "Vary" not in response.headers


# --- The middleware


def show(request: HttpRequest) -> HttpResponse:
    assert request.turbo.since == current_since()
    return HttpResponse(f"{request_id()}|{current_since()[:1]}|{bool(request.turbo)}")


async def ashow(request: HttpRequest) -> HttpResponse:
    return show(request)


def refuse(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.turbo.frame)


urlpatterns = [
    path("show/", show),
    path("ashow/", ashow),
    path("refuse/", refuse),
]


@pytest.fixture
def site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["turbo.middleware.TurboMiddleware"]


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("url", ["/show/", "/ashow/"])
def test_views_of_both_kinds_under_wsgi(url: str) -> None:
    response = Client().get(url, headers={"X-Turbo-Request-Id": "a1"})

    assert response.content.decode() == "a1|@|True"
    assert request_id() == ""


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("url", ["/show/", "/ashow/"])
async def test_views_of_both_kinds_under_asgi(url: str) -> None:
    response = await AsyncClient().get(url, headers={"X-Turbo-Request-Id": "a1"})

    assert response.content.decode() == "a1|@|True"
    assert request_id() == ""


@pytest.mark.usefixtures("site")
async def test_a_page_may_not_know_where_it_stands(settings: Any) -> None:
    settings.TURBO = {"REPLAY_BACKEND": f"{__name__}.ReplayThatKnowsNothing"}

    response = await AsyncClient().get("/ashow/")

    assert response.content.decode() == "|?|False"


@pytest.mark.usefixtures("site")
def test_a_request_id_that_is_none_goes_nowhere() -> None:
    response = Client().get("/show/", headers={"X-Turbo-Request-Id": '"><script>'})

    assert response.content.decode() == "|@|True"


@pytest.mark.usefixtures("site")
def test_markup_in_the_frame_header_is_a_bad_request() -> None:
    response = Client().get("/refuse/", headers={"Turbo-Frame": "<script>alert(1)"})

    assert response.status_code == 400
    assert b"<script>" not in response.content


def test_the_middleware_is_what_it_wraps() -> None:
    assert not iscoroutinefunction(TurboMiddleware(show))
    assert iscoroutinefunction(TurboMiddleware(ashow))


async def test_a_request_is_over_when_its_view_fails() -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    async def afail(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        TurboMiddleware(fail)(make(X_Turbo_Request_Id="a1"))
    with pytest.raises(ZeroDivisionError):
        await TurboMiddleware(afail)(make(X_Turbo_Request_Id="a1"))

    assert request_id() == ""
