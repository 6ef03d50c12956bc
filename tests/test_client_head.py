"""``{% include "turbo/head.html" %}``: what a page needs to load the client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.template import engines
from django.test import override_settings
from django.urls.base import set_script_prefix
from django.utils.functional import SimpleLazyObject

HEAD = (
    '<meta name="turbo-channels-url" content="/ws/">\n{meta}'
    '<script type="module" src="/static/turbo/turbo.min.js"{nonce} '
    'data-turbo-track="reload"></script>\n'
    '<script type="module" src="/static/turbo/turbo-channels.min.js"{nonce} '
    'data-turbo-track="reload"></script>\n'
    '<template id="turbo-channels-changed">This page has changed. '
    '<button type="button">Refresh</button></template>\n\n'
)


class LazyNonce(SimpleLazyObject):  # type: ignore[type-arg]
    """Django's own, of 6.0: it is false until it has been used."""

    def __init__(self) -> None:
        super().__init__(lambda: "r4nd0m")

    def __bool__(self) -> bool:
        return False


def head(**context: Any) -> str:
    return (
        engines["django"].from_string('{% include "turbo/head.html" %}').render(context)
    )


def test_head_loads_turbo_before_the_client() -> None:
    assert head() == HEAD.format(meta="", nonce="")


@override_settings(DEBUG=True)
def test_head_loads_the_modules_as_they_were_written_while_debug_is_on() -> None:
    assert head() == HEAD.format(meta="", nonce="").replace(".min.js", ".js")


@pytest.mark.parametrize("nonce", ["r4nd0m", LazyNonce()], ids=["text", "lazy"])
def test_head_carries_the_nonce_of_the_policy(nonce: Any) -> None:
    meta = '<meta name="csp-nonce" content="r4nd0m">\n'
    assert head(csp_nonce=nonce) == HEAD.format(meta=meta, nonce=' nonce="r4nd0m"')


def test_head_without_a_policy_in_force_has_no_nonce() -> None:
    assert head(csp_nonce=None) == HEAD.format(meta="", nonce="")


@override_settings(TURBO={"WEBSOCKET_PATH": '/live/"ws"/'})
def test_head_names_the_address_of_the_socket() -> None:
    assert head().startswith(
        '<meta name="turbo-channels-url" content="/live/&quot;ws&quot;/">'
    )


@pytest.fixture
def _below_site() -> Iterator[None]:
    """A request below /site; Django sets the prefix for each."""
    set_script_prefix("/site")
    yield
    set_script_prefix("/")


@pytest.mark.usefixtures("_below_site")
@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/ws/", "/site/ws/"),
        ("ws/", "/site/ws/"),
        ("/site/ws/", "/site/ws/"),
        ("wss://live.example.com/ws/", "wss://live.example.com/ws/"),
    ],
)
def test_head_names_an_address_below_the_prefix(path: str, address: str) -> None:
    with override_settings(TURBO={"WEBSOCKET_PATH": path}):
        assert f'name="turbo-channels-url" content="{address}"' in head()


@pytest.mark.usefixtures("_below_site")
def test_an_event_stream_is_below_the_prefix() -> None:
    source = (
        "{% load turbo_streams %}"
        '{% turbo_subscribe "testapp:Announcements" transport="sse" %}'
    )

    html = engines["django"].from_string(source).render({})

    assert ' src="/site/turbo/sse/?stream=' in html
