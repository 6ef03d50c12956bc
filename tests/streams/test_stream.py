"""A stream has a name, and what is done to it goes out under that name."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.template import TemplateDoesNotExist
from django.test import override_settings

import turbo
from tests.testapp.streams import Announcements, Counter, RoomStream
from turbo.delivery.names import stream_id, verify
from turbo.exceptions import ConfigurationError
from turbo.runtime.context import request_scope


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
