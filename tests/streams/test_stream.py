"""A stream has a name, and what is done to it goes out under that name."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.template import TemplateDoesNotExist
from django.test import override_settings

import turbo
import turbo.bindings
from tests.testapp.streams import Announcements, Counter, RoomStream
from turbo.connections.websocket import Endpoint
from turbo.delivery.names import stream_id, verify
from turbo.exceptions import ConfigurationError
from turbo.runtime.context import request_scope


class TestNames(turbo.Stream):
    """A stream, although its name begins like that of a test."""

    class Meta:
        abstract = True


class TestRows(turbo.bindings.Binding):
    """A binding."""


class TestSocket(Endpoint):
    """A consumer."""


def test_pytest_collects_no_class_of_the_library(
    request: pytest.FixtureRequest,
) -> None:
    here = [item.cls for item in request.session.items if item.path == request.path]

    assert set(here) == {None}


def test_the_name_is_the_label_and_the_arguments() -> None:
    assert Announcements().stream_name == "testapp:Announcements"
    assert Counter(3).stream_name == "testapp:Counter:[3]"
    assert (
        Counter(3, name="a").stream_name
        == 'testapp:Counter:{"args":[3],"kwargs":{"name":"a"}}'
    )


def test_the_id_is_that_of_the_name() -> None:
    assert Counter(3).stream_id == stream_id("testapp:Counter:[3]")


def test_the_signed_name_is_bound_to_who_is_logged_in() -> None:
    stream = Announcements()

    assert verify(stream.signed_stream_name).user is None
    assert verify(stream.sign(AnonymousUser())).user is None
    assert verify(stream.sign(User(pk=3))).user == "3"


def test_a_name_that_is_too_long_is_refused_at_once() -> None:
    told = pytest.raises(ConfigurationError, match=r"'testapp:Counter.*at most 30")

    with override_settings(TURBO={"MAX_NAME_LENGTH": 30}), told:
        Counter(10**20).append(text="x", id="y")


def test_a_verb_sends_its_element_to_the_stream(sent: list[Any]) -> None:
    Counter(3).append(text="<Hi>", id="list")

    assert sent == [
        (
            "testapp:Counter:[3]",
            '<turbo-stream action="append" target="list">'
            "<template>&lt;Hi&gt;</template></turbo-stream>",
        )
    ]


async def test_an_async_verb_sends_the_same(sent: list[Any]) -> None:
    await Announcements().aappend("testapp/hello.html", {"name": "Ann"}, id="list")
    Announcements().append("testapp/hello.html", {"name": "Ann"}, id="list")

    assert sent[0] == sent[1]


def test_a_refresh_names_the_request_that_causes_it(sent: list[Any]) -> None:
    with request_scope("r-1"):
        Announcements().refresh()

    assert sent == [
        (
            "testapp:Announcements",
            '<turbo-stream action="refresh" request-id="r-1"></turbo-stream>',
        )
    ]


async def test_frames_and_raw_text_go_out_as_they_are(sent: list[Any]) -> None:
    frame = turbo.remove_frame(id="old")
    stream = Announcements()

    stream.stream(frame)
    await stream.astream(frame)
    stream.stream_raw("<turbo-stream></turbo-stream>")
    await stream.astream_raw("<turbo-stream></turbo-stream>")

    assert [data for _, data in sent] == [str(frame)] * 2 + [
        "<turbo-stream></turbo-stream>"
    ] * 2


class Filtered(Announcements):
    """Keeps what passes through the two methods that everything passes through."""

    def __init__(self) -> None:
        self.passed: list[tuple[str, str]] = []

    def stream(self, frame: Any) -> None:
        self.passed.append(("stream", str(frame)))
        super().stream(frame)

    def stream_raw(self, text: str) -> None:
        self.passed.append(("stream_raw", text))
        super().stream_raw(text.replace("secret", "…"))


#: How each way to broadcast is called; the names are those of the methods.
WAYS: dict[str, dict[str, Any]] = {
    **{
        verb: {"text": "secret", "id": "x"}
        for verb in ("append", "prepend", "replace", "update", "before", "after")
    },
    "remove": {"id": "secret"},
    "refresh": {"attributes": {"data-x": "secret"}},
    "action": {"name": "secret"},
    "stream": {"frame": turbo.remove_frame(id="secret")},
}


@pytest.mark.parametrize("way", WAYS)
async def test_all_that_is_sent_passes_through_the_documented_methods(
    way: str, sent: list[Any]
) -> None:
    stream = Filtered()

    getattr(stream, way)(**WAYS[way])
    await getattr(stream, f"a{way}")(**WAYS[way])

    [(_, html), *_] = stream.passed
    assert "secret" in html
    assert stream.passed == [("stream", html), ("stream_raw", html)] * 2
    assert [data for _, data in sent] == [html.replace("secret", "…")] * 2


def test_a_method_that_is_patched_catches_what_the_verbs_send(sent: list[Any]) -> None:
    with mock.patch.object(turbo.Stream, "stream_raw") as stream_raw:
        Announcements().remove(id="x")

    stream_raw.assert_called_once_with(
        '<turbo-stream action="remove" target="x"></turbo-stream>'
    )
    assert sent == []


def test_a_template_that_is_unknown_is_the_callers_error(sent: list[Any]) -> None:
    with pytest.raises(TemplateDoesNotExist):
        Announcements().append("testapp/nothing.html", id="list")

    assert sent == []


def test_who_may_see_it_is_everybody_unless_the_class_says_so() -> None:
    assert Announcements().user_passes_test(AnonymousUser())
    assert not Announcements.tests_user()
    assert RoomStream.tests_user()


def test_its_text_names_it() -> None:
    assert repr(Counter(3)) == "<Counter 'testapp:Counter:[3]'>"
