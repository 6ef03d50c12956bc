"""``{% include "turbo/head.html" %}``: what a page needs to load the client."""

from __future__ import annotations

from typing import Any

import pytest
from django.template import engines
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

HEAD = (
    '<meta name="turbo-channels-url" content="/ws/">\n'
    '<script type="module" src="/static/turbo/turbo.js"{nonce} '
    'data-turbo-track="reload"></script>\n'
    '<script type="module" src="/static/turbo/turbo-channels.js"{nonce} '
    'data-turbo-track="reload"></script>\n'
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
    assert head() == HEAD.format(nonce="")


@pytest.mark.parametrize("nonce", ["r4nd0m", LazyNonce()], ids=["text", "lazy"])
def test_head_carries_the_nonce_of_the_policy(nonce: Any) -> None:
    assert head(csp_nonce=nonce) == HEAD.format(nonce=' nonce="r4nd0m"')


def test_head_without_a_policy_in_force_has_no_nonce() -> None:
    assert head(csp_nonce=None) == HEAD.format(nonce="")


@override_settings(TURBO={"WEBSOCKET_PATH": '/live/"ws"/'})
def test_head_names_the_address_of_the_socket() -> None:
    assert head().startswith(
        '<meta name="turbo-channels-url" content="/live/&quot;ws&quot;/">'
    )
