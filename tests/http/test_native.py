"""An app is given a command where a browser is given a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponseBase
from django.test import Client, RequestFactory
from django.urls import include, path

from turbo.http.native import (
    is_native,
    recede_or_redirect_to,
    refresh_or_redirect_to,
    resume_or_redirect_to,
)

IOS = "Mozilla/5.0 (iPhone) AppleWebKit/605 Hotwire Native iOS; Turbo Native iOS;"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

COMMANDS = [
    (recede_or_redirect_to, "recede"),
    (resume_or_redirect_to, "resume"),
    (refresh_or_redirect_to, "refresh"),
]

urlpatterns = [path("turbo/", include("turbo.urls"))]

pytestmark = pytest.mark.urls(__name__)


def make(agent: str, method: str = "POST", **headers: str) -> HttpRequest:
    return RequestFactory().generic(
        method, "/", headers={"User-Agent": agent, **headers}
    )


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (IOS, True),
        ("Turbo Native Android", True),
        ("Hotwire Native Android; Chrome", True),
        (FIREFOX, False),
        ("hotwire native", False),
        ("", False),
    ],
)
def test_is_native(agent: str, expected: bool) -> None:
    assert is_native(make(agent)) is expected


@pytest.mark.parametrize(("send", "name"), COMMANDS)
def test_an_app_is_given_its_command(
    send: Callable[..., HttpResponseBase], name: str
) -> None:
    response = send(make(IOS), "/rooms/", back=True)

    assert response.status_code == 303
    assert response.headers["Location"] == f"/turbo/{name}_historical_location"
    assert response.headers["Vary"] == "User-Agent"


@pytest.mark.parametrize(("send", "name"), COMMANDS)
def test_a_browser_is_given_a_page(
    send: Callable[..., HttpResponseBase], name: str
) -> None:
    response = send(make(FIREFOX), "/rooms/")

    assert (response.status_code, response.headers["Location"]) == (303, "/rooms/")
    assert response.headers["Vary"] == "User-Agent"


def test_a_get_is_redirected_with_302() -> None:
    assert recede_or_redirect_to(make(FIREFOX, "GET"), "/").status_code == 302


@pytest.mark.parametrize(
    ("headers", "location"),
    [
        ({"Referer": "http://testserver/rooms/1/"}, "http://testserver/rooms/1/"),
        ({"Referer": "https://elsewhere.example/"}, "/rooms/"),
        ({"Referer": "javascript:alert(1)"}, "/rooms/"),
        ({}, "/rooms/"),
    ],
)
def test_a_browser_goes_back_within_this_site(
    headers: dict[str, str], location: str
) -> None:
    response = resume_or_redirect_to(make(FIREFOX, **headers), "/rooms/", back=True)

    assert response.headers["Location"] == location


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("recede", "Going back…"),
        ("resume", "Staying here…"),
        ("refresh", "Loading again…"),
    ],
)
def test_the_address_of_a_command_answers(name: str, text: str) -> None:
    response: Any = Client().get(f"/turbo/{name}_historical_location")

    assert (response.status_code, response.content.decode()) == (200, text)


def test_a_command_takes_no_post() -> None:
    assert Client().post("/turbo/recede_historical_location").status_code == 405
