"""The history keeps what was broadcast and what went wrong, and not too much of it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

import turbo
from tests.support.clients import Socket
from tests.testapp.streams import Forum
from turbo import metrics
from turbo.delivery.hub import subscribers
from turbo.delivery.names import sign, stream_id
from turbo.inspector import history as module
from turbo.inspector.history import InspectorHistory
from turbo.inspector.streams import Inspection

pytestmark = pytest.mark.django_db(transaction=True)


class Ticker(turbo.Stream):
    """A stream of these tests."""


class Closed(turbo.Stream):
    """One that nobody may see."""

    def user_passes_test(self, user: object) -> bool:
        return False


def test_broadcasts_newest_first(opened: InspectorHistory) -> None:
    Ticker().append(text="<one>", id="list")
    Ticker().remove(id="list")

    assert [(note.name, note.data) for note in opened.broadcasts()] == [
        (
            Ticker.label,
            '<turbo-stream action="remove" target="list"></turbo-stream>',
        ),
        (
            Ticker.label,
            '<turbo-stream action="append" target="list">'
            "<template>&lt;one&gt;</template></turbo-stream>",
        ),
    ]


def test_a_message_for_audiences_has_a_line_for_each(opened: InspectorHistory) -> None:
    context = {"text": "Hi", "note": "Delete"}
    Forum(1).append("testapp/post.html", context, id="posts")
    Forum(1).only("moderator").remove(id="post_1")

    removed, added = opened.broadcasts()
    assert removed.data == (
        'moderator: <turbo-stream action="remove" target="post_1"></turbo-stream>'
    )
    assert [line.partition(":")[0] for line in added.data.splitlines()[::2]] == [
        "member",
        "moderator",
    ]


def test_memory_is_bounded(opened: InspectorHistory) -> None:
    Ticker().stream_raw("x" * (module.LONGEST + 1))
    assert opened.broadcasts()[0].data == "x" * module.LONGEST + "…"

    for number in range(module.KEPT + 1):
        Ticker().append(text=str(number), id="list")
        metrics.count("failed")

    assert len(opened.broadcasts()) == len(opened.incidents()) == module.KEPT


def test_a_shut_notebook_keeps_nothing() -> None:
    history = InspectorHistory()
    history.open()
    Ticker().remove(id="list")
    history.close()
    Ticker().remove(id="list")
    metrics.count("failed")

    assert history.broadcasts() == history.incidents() == []
    assert Ticker.label not in history.names().values()


def test_opening_twice_notes_once(opened: InspectorHistory) -> None:
    opened.open()

    Ticker().remove(id="list")

    assert len(opened.broadcasts()) == 1


def test_troubles_are_incidents_and_successes_are_not(opened: InspectorHistory) -> None:
    metrics.count("published", 3)
    metrics.count("revoked", 0)
    metrics.count("dropped", 2)

    [incident] = opened.incidents()

    assert (incident.kind, incident.stream) == ("dropped", "")
    assert incident.why == "2: messages that were dropped before they reached the layer"


def test_a_gap_names_its_stream(opened: InspectorHistory) -> None:
    Ticker().remove(id="list")

    metrics.count("gaps", sid=stream_id(Ticker.label))
    metrics.count("gaps", sid="unheard-of")

    assert [note.stream for note in opened.incidents()] == ["unheard-of", Ticker.label]


async def test_subscriptions_and_refusals_by_name(opened: InspectorHistory) -> None:
    async with Socket() as socket:
        await socket.subscribe(Ticker().signed_stream_name)
        await socket.subscribe(Closed().signed_stream_name, "forged:name:here")

        held = subscribers()

    assert opened.names()[stream_id(Ticker.label)] == Ticker.label
    assert held[stream_id(Ticker.label)] == 1
    assert [(note.kind, note.stream, note.why) for note in opened.incidents()] == [
        ("refused", "forged:name:here…", "forged"),
        ("refused", Closed.label, "forbidden"),
    ]


async def test_a_refusal_says_for_whom_the_page_was_made(
    opened: InspectorHistory,
) -> None:
    somebody = User(pk=7)

    async with Socket() as socket:
        await socket.subscribe(sign(Ticker.label, user=somebody))

    assert opened.incidents()[0].why == "foreign, on a page made for user 7"


async def test_open_pages_of_the_inspector_are_refreshed(
    opened: InspectorHistory, developing: object
) -> None:
    async with Socket() as socket:
        await socket.subscribe(Inspection().signed_stream_name)
        Ticker().remove(id="list")

        heard = await socket.messages()

    assert heard == ['<turbo-stream action="refresh"></turbo-stream>']
    assert [note.name for note in opened.broadcasts()] == [Ticker.label]


async def test_nobody_is_refreshed_without_debug(opened: InspectorHistory) -> None:
    async with Socket() as socket:
        await socket.subscribe(Inspection().signed_stream_name)

    assert opened.incidents()[0].stream == Inspection.label
