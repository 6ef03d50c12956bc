"""A page asks what it lacks of a growing text, if it may see the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

import turbo
from tests.support.clients import Socket
from tests.support.servers import PATIENCE
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, Counter
from turbo.connections.page import stored_text
from turbo.delivery.broadcast import flush, shut_down
from turbo.replay import get_replay
from turbo.replay.texts import TextPlace
from turbo.streams.text import StreamText
from turbo.testing.elements import StreamElement, read_elements

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_publisher() -> Iterator[None]:
    yield
    shut_down(PATIENCE)


async def written(stream: Any, text: str, *, id: str = "answer") -> StreamText:
    """Return a text that is being written, and of which this is stored."""
    answer = await stream.text(id=id).astart()
    answer.write(text)
    await asyncio.to_thread(flush, PATIENCE)
    return answer


async def ask(
    socket: Socket, name: str, id: str = "answer", **has: Any
) -> StreamElement:
    await socket.send(type="text", name=name, id=id, **has)
    [data] = await socket.messages()
    [element] = read_elements(data)
    return element


async def test_a_page_gets_what_it_lacks() -> None:
    answer = await written(Announcements(), "a < b 😀 c")
    name = Announcements().signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(name)
        whole = await ask(socket, name)
        run = int(whole.attributes["run"])
        rest = await ask(socket, name, run=run, at=7)
        nothing = await ask(socket, name, run=run, at=9)
        of_another_run = await ask(socket, name, run=run - 1, at=7)
        from_nowhere = await ask(socket, name, run=run, at=-1)
        of_the_future = await ask(socket, name, run=run, at=10**30)

    assert (whole.attributes["at"], whole.html) == ("0", "a &lt; b 😀 c")
    assert whole.attributes["state"] == "writing"
    assert (rest.attributes["at"], rest.html) == ("7", " c")
    assert (nothing.attributes["at"], nothing.html) == ("9", "")
    for element in (of_another_run, from_nowhere, of_the_future):
        assert element == whole
    answer.finish()


async def test_an_answer_has_no_number() -> None:
    """It is for one page, which takes it at once."""
    answer = await written(Announcements(), "a")
    name = Announcements().signed_stream_name
    async with Socket() as socket, Socket() as other:
        await socket.subscribe(name)
        await other.subscribe(name)
        await socket.send(type="text", name=name, id="answer")
        frame = await socket.receive()
        assert await other.nothing()

    assert (frame["type"], frame["position"]) == ("message", "")
    answer.finish()


async def test_a_text_that_has_ended_is_told_with_its_end() -> None:
    answer = await written(Announcements(), "*a*")
    answer.finish(html="<em>a</em>")
    await asyncio.to_thread(flush, PATIENCE)
    name = Announcements().signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(name)
        element = await ask(socket, name, at=1)

    assert (element.html, element.attributes["kind"]) == ("<em>a</em>", "html")
    assert (element.attributes["at"], element.attributes["state"]) == ("3", "finished")


async def test_a_writer_that_has_fallen_silent_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = await written(Announcements(), "a")
    monkeypatch.setattr("turbo.replay.texts.LEASE", 0.0)
    name = Announcements().signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(name)
        element = await ask(socket, name)

    assert (element.html, element.attributes["state"]) == ("a", "silent")
    answer.finish()


async def test_a_progress_is_told_as_it_is() -> None:
    progress = await Counter(1).progress(id="job", total=9).astart()
    progress.advance(4)
    await asyncio.to_thread(flush, PATIENCE)
    name = Counter(1).signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(name)
        element = await ask(socket, name, "job")

    assert (element.action, element.attributes["value"]) == ("progress", "4")
    progress.finish()


@pytest.mark.parametrize("id", ["answer", '"><script>alert(1)</script>'])
async def test_a_text_that_nobody_wrote_is_answered(id: str) -> None:
    name = Announcements().signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(name)
        element = await ask(socket, name, id)

    assert element.attributes["state"] == "none"
    assert "<script>" not in element.text


# --- Who may not


async def test_a_stream_that_is_not_subscribed_to_is_not_told_of() -> None:
    answer = await written(Counter(1), "secret")
    name = Counter(1).signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(Counter(2).signed_stream_name)
        await socket.send(type="text", name=name, id="answer")
        error = await socket.receive()

    assert (error["type"], error["reason"]) == ("error", "not_subscribed")
    answer.finish()


async def test_who_was_refused_or_has_left_is_not_told() -> None:
    ann = await User.objects.acreate(username="ann")
    room = await Room.objects.acreate(name="Cellar", public=False)
    answer = await written(room.stream, "secret")
    name = room.stream.sign(ann)
    async with Socket(ann) as socket:
        [denied] = await socket.subscribe(name)
        await socket.send(type="text", name=name, id="answer")
        error = await socket.receive()
        await room.members.aadd(ann)
        await socket.subscribe(name)
        await ask(socket, name)
        await socket.send(type="unsubscribe", streams=[name])
        await socket.receive()
        await socket.send(type="text", name=name, id="answer")
        again = await socket.receive()

    assert denied["reason"] == "forbidden"
    assert error["reason"] == again["reason"] == "not_subscribed"
    answer.finish()


async def test_whose_permission_was_revoked_is_not_told() -> None:
    ann = await User.objects.acreate(username="ann")
    answer = await written(Announcements(), "secret")
    name = Announcements().sign(ann)
    async with Socket(ann) as socket:
        await socket.subscribe(name)
        turbo.revoke(user=ann)
        revoked = await socket.receive()
        await socket.send(type="text", name=name, id="answer")
        error = await socket.receive()

    assert revoked["reason"] == "revoked"
    assert error["reason"] == "not_subscribed"
    answer.finish()


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"id": ""},
        {"id": "x" * 256},
        {"id": 7},
        {"id": "half \ud800 a character"},
        {"id": "answer", "at": "1"},
        {"id": "answer", "at": 1.5},
        {"id": "answer", "at": True},
        {"id": "answer", "run": [1]},
        {"id": "answer", "name": ""},
        {"id": "answer", "name": 7},
    ],
)
async def test_a_frame_that_makes_no_sense_is_answered(frame: Any) -> None:
    name = Announcements().signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(name)
        await socket.send(**{"type": "text", "name": name} | frame)
        error = await socket.receive()
        element = await ask(socket, name)

    assert (error["type"], error["reason"]) == ("error", "invalid")
    assert element.attributes["state"] == "none"


async def test_who_asks_for_too_much_is_told_so() -> None:
    """What is sent counts as what is replayed."""
    limits = {"CONNECTION_LIMITS": {"REPLAY_BYTES": 1_000}}
    with override_settings(TURBO=limits):
        answer = await written(Announcements(), "x" * 1_000)
        name = Announcements().signed_stream_name
        async with Socket() as socket:
            await socket.subscribe(name)
            await ask(socket, name)
            await socket.send(type="text", name=name, id="answer")
            error = await socket.receive()

        assert (error["type"], error["reason"]) == ("error", "limit")
        answer.finish()
        await asyncio.to_thread(flush, PATIENCE)


async def test_who_loses_access_while_the_log_is_asked_is_not_told() -> None:
    ann = await User.objects.acreate(username="ann")
    answer = await written(Announcements(), "secret")
    name = Announcements().sign(ann)
    texts = get_replay().texts
    read = texts.read
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(places: Any) -> Any:
        is_asked.set()
        await may_answer.wait()
        return await read(places)

    async with Socket(ann) as socket:
        await socket.subscribe(name)
        texts.read = slow  # type: ignore[method-assign]
        await socket.send(type="text", name=name, id="answer")
        await is_asked.wait()
        turbo.revoke(user=ann)
        revoked = await socket.receive()
        may_answer.set()
        assert await socket.nothing()

    assert revoked["reason"] == "revoked"
    answer.finish()


async def test_what_does_not_fit_now_is_not_sent() -> None:
    """The client would be closed as one that does not read; it asks again."""
    with override_settings(TURBO={"QUEUE_BYTES": 1_000}):
        answer = await written(Announcements(), "x" * 1_000)
        name = Announcements().signed_stream_name
        async with Socket() as socket:
            [held] = await socket.subscribe(name)
            await socket.send(type="text", name=name, id="answer")
            assert await socket.nothing()

        assert held["type"] == "subscribed"
        answer.finish()
        await asyncio.to_thread(flush, PATIENCE)


async def test_a_question_counts_though_its_answer_has_no_room() -> None:
    """Who does not read could have everything read again and again."""
    limits = {"QUEUE_BYTES": 1_000, "CONNECTION_LIMITS": {"REPLAY_BYTES": 1_000}}
    with override_settings(TURBO=limits):
        answer = await written(Announcements(), "x" * 1_000)
        name = Announcements().signed_stream_name
        async with Socket() as socket:
            await socket.subscribe(name)
            await socket.send(type="text", name=name, id="answer")
            await socket.send(type="text", name=name, id="answer")
            error = await socket.receive()

        assert (error["type"], error["reason"]) == ("error", "limit")
        answer.finish()
        await asyncio.to_thread(flush, PATIENCE)


async def test_a_question_counts_though_the_page_has_it_all() -> None:
    """It costs the log as much as the others."""
    limits = {"CONNECTION_LIMITS": {"REPLAY_BYTES": 1_000}}
    with override_settings(TURBO=limits):
        answer = await written(Announcements(), "x" * 1_000)
        place = TextPlace(Announcements().stream_id, "answer")
        [stored] = await get_replay().texts.read([place])
        assert stored is not None
        name = Announcements().signed_stream_name
        async with Socket() as socket:
            await socket.subscribe(name)
            nothing = await ask(socket, name, run=stored.run, at=stored.at)
            await socket.send(type="text", name=name, id="answer")
            error = await socket.receive()

        assert nothing.html == ""
        assert (error["type"], error["reason"]) == ("error", "limit")
        answer.finish()
        await asyncio.to_thread(flush, PATIENCE)


async def test_a_log_that_is_away_answers_nothing_and_ends_nothing() -> None:
    """The page asks again."""
    name = Announcements().signed_stream_name
    texts = get_replay().texts
    read = texts.read

    async def away(places: Any) -> Any:
        raise ConnectionError("no log")

    async with Socket() as socket:
        await socket.subscribe(name)
        texts.read = away  # type: ignore[method-assign]
        await socket.send(type="text", name=name, id="answer")
        assert await socket.nothing()
        texts.read = read  # type: ignore[method-assign]
        element = await ask(socket, name)

    assert element.attributes["state"] == "none"


async def test_pages_that_ask_at_once_are_one_question() -> None:
    place = TextPlace(Announcements().stream_id, "answer")
    texts = get_replay().texts
    read, asked = texts.read, []

    async def noting(places: Any) -> Any:
        asked.append(places)
        return await read(places)

    texts.read = noting  # type: ignore[method-assign]
    found = await asyncio.gather(*(stored_text(place) for _ in range(50)))

    assert found == [None] * 50
    assert asked == [[place]]
