"""The testing kit sees what is sent, and says what came when that is not it."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template import Template
from django.test import TestCase, TransactionTestCase
from django.utils.safestring import mark_safe

import turbo.testing
from tests.support.listening import rolled_back
from tests.support.servers import ROOT
from tests.testapp.models import Board, Card, Room
from tests.testapp.streams import Announcements, BoardStream, Forum
from turbo.delivery.recorders import recording
from turbo.exceptions import UnknownStreamError
from turbo.shortcuts import TurboResponse, remove_frame, render_frame_string
from turbo.testing import (
    ACCEPT_STREAMS,
    StreamElement,
    assert_broadcasts,
    assert_no_broadcasts,
    assert_no_turbo_frame,
    assert_no_turbo_stream,
    assert_turbo_frame,
    assert_turbo_stream,
    capture_broadcasts,
    read_elements,
)
from turbo.testing.pytest import Broadcasts

HI = (
    '<turbo-stream action="append" target="news"><template>Hi</template></turbo-stream>'
)


def say(text: str = "Hi") -> None:
    Announcements().append(text=text, id="news")


# --- Reading


def test_an_element_is_read_back() -> None:
    [element] = read_elements(
        '\n<turbo-stream action="replace" targets=".a &amp; b" method="morph" hidden>\n'
        '<template data-x="<y>"><ul>\n<li>&lt;é&gt;</li></ul></template>\n'
        "</turbo-stream>",
        "chat:Room:1",
    )

    assert element == StreamElement(
        stream="chat:Room:1",
        action="replace",
        targets=".a & b",
        attributes={
            "action": "replace",
            "targets": ".a & b",
            "method": "morph",
            "hidden": "",
        },
        html="<ul>\n<li>&lt;é&gt;</li></ul>",
        text=str(element),
    )
    assert str(element).startswith("<turbo-stream ")
    assert str(element).endswith("</turbo-stream>")


def test_elements_inside_of_others_are_content() -> None:
    inner = f"<template>{HI}</template><template></template>"

    first, second = read_elements(
        f'<turbo-stream action="log"><template>{inner}</template></turbo-stream> {HI}'
    )

    assert (first.action, first.html) == ("log", inner)
    assert str(second) == HI


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "<p>x</p>",
        "</template></turbo-stream>",
        '<turbo-stream action="x">',
    ],
)
def test_text_without_elements_has_none(text: str) -> None:
    assert read_elements(text) == []


def test_an_element_without_content() -> None:
    [element] = read_elements("<turbo-stream></turbo-stream>")

    assert (element.action, element.html, element.target) == ("", "", None)


# --- Capturing


def test_everything_is_captured_unless_streams_are_named() -> None:
    with capture_broadcasts() as both, capture_broadcasts(Announcements) as one:
        say()
        BoardStream.from_pk(1).remove(id="x")

    assert [element.stream for element in both] == [
        "testapp:Announcements",
        "testapp:BoardStream:1",
    ]
    assert list(map(str, one)) == [HI]


@pytest.mark.parametrize(
    "stream", ["testapp:Announcements", Announcements, Announcements()]
)
def test_streams_are_named_in_every_way(stream: Any) -> None:
    with capture_broadcasts(stream) as sent:
        say()

    assert list(map(str, sent)) == [HI]


def test_a_stream_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UnknownStreamError):
        capture_broadcasts("testapp:Anouncements")


def test_a_message_of_several_elements_is_several() -> None:
    with capture_broadcasts() as sent:
        Announcements().stream(remove_frame(id="a").remove(id="b"))

    assert [element.target for element in sent] == ["a", "b"]


def post(note: str = "Delete") -> None:
    context = {"text": "Hi", "note": note}
    Forum(1).append("testapp/post.html", context, id="posts")


def test_an_element_knows_its_audience() -> None:
    with capture_broadcasts() as sent:
        post()
        Forum(1).only("moderator").remove(id="a")
        Forum(1).remove(id="b")

    assert [(element.action, element.audience) for element in sent] == [
        ("append", "member"),
        ("append", "moderator"),
        ("remove", "moderator"),
        ("remove", None),
    ]


def test_what_one_audience_gets_is_what_is_for_it_and_for_all() -> None:
    with assert_broadcasts(Forum(1), audience="member", count=2):
        post()
        Forum(1).only("moderator").remove(id="a")
        Forum(1).remove(id="b")


def test_the_report_says_for_whom_each_was() -> None:
    with (
        pytest.raises(AssertionError) as raised,
        assert_broadcasts(Forum(1), audience="member", action="remove"),
    ):
        Forum(1).only("moderator").remove(id="a")

    assert str(raised.value) == (
        "Expected an element with action='remove', audience='member' for "
        "'testapp:Forum:[1]', but got 0.\nSent meanwhile:\n  testapp:Forum:[1]  "
        '<turbo-stream action="remove" target="a"></turbo-stream>  (for moderator)'
    )


def test_what_is_captured_goes_nowhere_unless_told_to() -> None:
    with capture_broadcasts() as first, capture_broadcasts(deliver=True) as second:
        say()

    assert len(first) == len(second) == 1

    seen: list[str] = []
    with recording(lambda name, data: seen.append(data)), capture_broadcasts():
        say()
    assert seen == [HI]


def test_an_exception_in_the_block_is_not_hidden() -> None:
    with pytest.raises(KeyError), assert_broadcasts(Announcements):
        raise KeyError("x")


class InTestCase(TestCase):
    """Where nothing is ever committed."""

    def setUp(self) -> None:
        self.board = Board.objects.create(name="Work")

    def test_a_change_is_told_of_at_the_end_of_the_block(self) -> None:
        with capture_broadcasts(self.board) as sent:
            Card.objects.create(board=self.board, title="Rake")
            assert sent == []

        assert [element.action for element in sent] == ["append"]

    def test_what_came_before_the_block_is_left_out(self) -> None:
        with capture_broadcasts() as sent:
            pass

        assert sent == []

    def test_each_hook_runs_once(self) -> None:
        with capture_broadcasts() as outer:
            with capture_broadcasts() as inner:
                self.board.save()
            self.board.save()

        assert [element.action for element in inner] == ["refresh", "refresh"]
        assert [element.action for element in outer] == ["refresh"] * 4

    def test_a_hook_registered_before_and_again_inside_runs_once(self) -> None:
        transaction.on_commit(say)

        with capture_broadcasts() as sent:
            transaction.on_commit(say)

        assert list(map(str, sent)) == [HI]

    def test_hooks_that_bring_hooks_run_too(self) -> None:
        with capture_broadcasts(Announcements) as sent:
            transaction.on_commit(lambda: transaction.on_commit(say))

        assert list(map(str, sent)) == [HI]

    def test_a_savepoint_that_is_rolled_back_sends_nothing(self) -> None:
        with capture_broadcasts() as sent, rolled_back():
            self.board.save()

        assert sent == []

    def test_a_block_of_the_test_itself_has_not_committed_yet(self) -> None:
        with transaction.atomic():
            with assert_no_broadcasts():
                self.board.save()
            with assert_no_broadcasts():
                pass

    def test_a_hook_that_fails_fails_the_test(self) -> None:
        def fail() -> None:
            raise RuntimeError("hook")

        with pytest.raises(RuntimeError, match="hook"), capture_broadcasts():
            transaction.on_commit(fail)

    def test_a_robust_hook_that_fails_is_logged(self) -> None:
        def fail() -> None:
            raise RuntimeError("hook")

        with self.assertLogs("turbo.testing"), capture_broadcasts() as sent:
            transaction.on_commit(fail, robust=True)
            transaction.on_commit(say)

        assert list(map(str, sent)) == [HI]

    async def test_asynchronous_tests_have_a_twin(self) -> None:
        async with capture_broadcasts(self.board) as sent:
            await Card.objects.acreate(board=self.board, title="Rake")

        assert [element.action for element in sent] == ["append"]

    def test_the_client_of_django_is_no_exception(self) -> None:
        room = Room.objects.create(name="Lobby")

        with assert_broadcasts(room, action="append", target="messages"):
            self.client.get(f"/rooms/{room.pk}/say/?text=Hi")


class InTransactionTestCase(TransactionTestCase):
    """Where commits are commits."""

    def test_a_change_is_told_of_at_once(self) -> None:
        with capture_broadcasts(BoardStream) as sent:
            Board.objects.create(name="Work")
            assert len(sent) == 1

        assert len(sent) == 1

    def test_an_open_transaction_is_left_alone(self) -> None:
        with capture_broadcasts(BoardStream) as sent, transaction.atomic():
            with assert_no_broadcasts():
                Board.objects.create(name="Work")
            assert connection.run_on_commit

        assert len(sent) == 1

    async def test_asynchronous_code_may_use_either(self) -> None:
        with assert_broadcasts(BoardStream, count=1):
            await Board.objects.acreate(name="Work")
        async with assert_broadcasts(BoardStream, count=1):
            await Board.objects.acreate(name="Work")


# --- Asserting


def test_assert_broadcasts_is_content_with_what_was_asked_for() -> None:
    with assert_broadcasts(
        Announcements, count=2, action="append", target="news"
    ) as sent:
        say()
        say("Ho")
        Announcements().remove(".old")

    assert [element.html for element in sent] == ["Hi", "Ho", ""]
    with assert_broadcasts(Announcements):
        say()
    with assert_broadcasts(Announcements, selector=".old"):
        Announcements().remove(".old")
    with assert_broadcasts(Announcements, count=0, action="remove"):
        say()


@pytest.mark.django_db
def test_a_target_may_be_an_instance() -> None:
    room = Room.objects.create(name="Lobby")

    with assert_broadcasts(room, target=room):
        room.stream.update(text="x", id=room)


def test_a_failure_shows_what_was_sent_instead() -> None:
    def send() -> None:
        with assert_broadcasts(Announcements, count=2, action="append", target="news"):
            say()
            BoardStream.from_pk(1).remove(id="x")

    with pytest.raises(AssertionError) as caught:
        send()

    assert str(caught.value) == (
        "Expected 2 elements with action='append', target='news' for "
        "'testapp:Announcements', but got 1.\n"
        "Sent meanwhile:\n"
        f"  testapp:Announcements  {HI}\n"
        '  testapp:BoardStream:1  <turbo-stream action="remove" target="x">'
        "</turbo-stream>"
    )


def test_a_failure_says_that_nothing_was_sent() -> None:
    with pytest.raises(AssertionError) as caught, assert_broadcasts(Announcements):
        pass

    assert str(caught.value) == (
        "Expected an element for 'testapp:Announcements', but got 0.\nNothing was sent."
    )


@pytest.mark.django_db
def test_a_failure_shows_the_errors_that_may_be_why() -> None:
    def send() -> None:
        with assert_broadcasts(Announcements):
            logging.getLogger("turbo.broadcast").error("Broadcasts have to wait.")
            transaction.on_commit(lambda: 1 / 0, robust=True)

    with pytest.raises(AssertionError) as caught:
        send()

    lines = str(caught.value).splitlines()
    assert lines[1:4] == [
        "Nothing was sent.",
        "Errors meanwhile:",
        "  Broadcasts have to wait.",
    ]
    assert lines[4].endswith("failed. ZeroDivisionError: division by zero")


def test_assert_no_broadcasts() -> None:
    with assert_no_broadcasts(BoardStream):
        say()
    with pytest.raises(AssertionError) as caught, assert_no_broadcasts():
        say()
    assert str(caught.value) == (
        "Expected nothing for any stream, but got 1.\n"
        f"Sent meanwhile:\n  testapp:Announcements  {HI}"
    )
    with (
        pytest.raises(AssertionError, match=r"^Expected nothing for 'testapp:Bo"),
        assert_no_broadcasts(BoardStream, Announcements),
    ):
        Announcements().stream_raw("no element")


# --- Responses


def test_assert_turbo_stream_returns_the_elements() -> None:
    hello = render_frame_string("Hello")
    response = TurboResponse(hello.append(id="a").update("#b"), remove_frame(id="a"))

    assert len(assert_turbo_stream(response, count=3)) == 3
    [element] = assert_turbo_stream(response, action="append", target="a")
    assert element.html == "Hello"
    assert_turbo_stream(response, selector="#b")
    assert_turbo_stream(response, count=2, target="a")
    assert_no_turbo_stream(response, action="replace")
    assert_no_turbo_stream(HttpResponse(str(hello.append(id="a"))))
    assert_turbo_stream(TurboResponse(mark_safe(HI), status=422), status=422)


def test_assert_turbo_stream_tells_what_came_instead() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_turbo_stream(TurboResponse(mark_safe(HI)), action="remove")
    assert str(caught.value) == (
        "Expected an element with action='remove', but got 0.\n"
        f"The response has:\n  {HI}"
    )
    with pytest.raises(AssertionError) as caught:
        assert_turbo_stream(TurboResponse())
    assert (
        str(caught.value)
        == "Expected an element, but got 0.\nThe response has no elements."
    )
    with pytest.raises(AssertionError) as caught:
        assert_no_turbo_stream(TurboResponse(mark_safe(HI)), target="news")
    assert str(caught.value).startswith(
        "Expected 0 elements with target='news', but got 1."
    )


@pytest.mark.parametrize(
    ("response", "described"),
    [
        (
            HttpResponseRedirect("/rooms/1/", status=303),
            "status 303 text/html; charset=utf-8 a redirect to /rooms/1/ "
            "(does the request say headers=ACCEPT_STREAMS?)",
        ),
        (
            StreamingHttpResponse(iter([HI]), content_type=""),
            "status 200 (does the request say headers=ACCEPT_STREAMS?)",
        ),
        (
            TurboResponse(mark_safe(HI), status=422),
            "status 422 text/vnd.turbo-stream.html; charset=utf-8",
        ),
    ],
)
def test_another_response_is_described(response: Any, described: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_turbo_stream(response)

    assert str(caught.value) == (
        f"Expected a stream of elements with status 200, but got {described}"
    )


def test_accept_streams_is_what_turbo_says(rf: Any) -> None:
    from turbo.http import accepts_streams

    assert accepts_streams(rf.post("/", headers=ACCEPT_STREAMS))


# --- Frames

FRAMES = (
    '<turbo-frame id="tray" src="/trays/1/" loading="lazy">\n'
    '<turbo-frame id="edit_room_1" target="_top"><p>é &amp; so on</p></turbo-frame>'
    "</turbo-frame></turbo-frame>"
)


def test_assert_turbo_frame_returns_what_is_inside() -> None:
    room = Room(pk=1)
    room._state.adding = False
    response = HttpResponse(FRAMES)

    inner = assert_turbo_frame(response, room, "edit", target="_top")
    outer = assert_turbo_frame(response, "tray", src="/trays/1/", loading="lazy")

    assert inner == "<p>é &amp; so on</p>"
    assert outer == (
        f'\n<turbo-frame id="edit_room_1" target="_top">{inner}</turbo-frame>'
    )
    assert_turbo_frame(HttpResponse(FRAMES, status=422), "tray", status=422)
    assert_no_turbo_frame(response, room)


def test_assert_turbo_frame_tells_what_came_instead() -> None:
    response = HttpResponse(FRAMES, status=422)
    shown = (
        'The response has:\n  <turbo-frame id="tray" src="/trays/1/" loading="lazy">\n'
        '  <turbo-frame id="edit_room_1" target="_top">'
    )

    with pytest.raises(AssertionError) as caught:
        assert_turbo_frame(response, "tray", loading="eager", status=422)
    assert str(caught.value) == (
        f'Expected <turbo-frame id="tray" loading="eager">, but got none.\n{shown}'
    )
    with pytest.raises(AssertionError) as caught:
        assert_turbo_frame(response, "tray")
    assert str(caught.value) == (
        'Expected <turbo-frame id="tray"> with status 200, but got status 422.\n'
        f"{shown}"
    )
    with pytest.raises(AssertionError) as caught:
        assert_no_turbo_frame(response, "tray")
    assert str(caught.value) == (
        f'Expected no <turbo-frame id="tray">, but got it.\n{shown}'
    )
    with pytest.raises(AssertionError, match=r"The response has no frames\.$"):
        assert_turbo_frame(HttpResponse(), Room)


# --- pytest


@pytest.mark.django_db
def test_the_fixture_collects_so_far(broadcasts: Broadcasts) -> None:
    board = Board.objects.create(name="Work")
    assert [sent.stream for sent in broadcasts()] == ["testapp:BoardStream"]

    Card.objects.create(board=board, title="Rake")
    say()

    assert [sent.action for sent in broadcasts(board)] == ["append"]
    assert len(broadcasts()) == 3
    assert len(broadcasts(Announcements, board)) == 2


async def test_the_fixture_needs_no_database(broadcasts: Broadcasts) -> None:
    await sync_to_async(say)()

    assert list(map(str, broadcasts())) == [HI]


def test_the_kit_imports_neither_pytest_nor_a_browser() -> None:
    code = (
        "import sys, turbo.testing;"
        "print(*{'pytest', 'playwright', 'selenium'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == ""


def test_all_is_documented() -> None:
    for name in turbo.testing.__all__:
        assert getattr(turbo.testing, name).__doc__ or name == "ACCEPT_STREAMS"


def test_templates_render_in_captures() -> None:
    with capture_broadcasts() as sent:
        Announcements().update(Template("{{ n }}"), {"n": 1}, id="count")

    assert [element.html for element in sent] == ["1"]
