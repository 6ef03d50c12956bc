"""A text grows on pages while it is written, and ends in one way."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DataError, transaction
from redis.exceptions import ResponseError

import turbo
from tests.support.clients import Socket
from tests.support.servers import PATIENCE, wait_until
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, Counter
from turbo.delivery.broadcast import flush, shut_down
from turbo.exceptions import ConfigurationError, TargetError, TextError
from turbo.replay import get_replay
from turbo.replay.memory import MemoryReplay
from turbo.replay.texts import LONGEST, NoTexts, Put, Stored, StoredText, TextPlace
from turbo.streams import growing, text_sender
from turbo.streams.growing import whole
from turbo.streams.text import StreamText
from turbo.testing import capture_broadcasts
from turbo.testing.elements import StreamElement, read_elements


@pytest.fixture(autouse=True)
def _no_publisher() -> Iterator[None]:
    yield
    shut_down(PATIENCE)


def answer(id: object = "answer") -> StreamText:
    return Announcements().text(id=id)


def stored(id: str = "answer") -> StoredText:
    """Return what the log has when all has been sent."""
    assert flush(PATIENCE)
    place = TextPlace(Announcements().stream_id, id)
    [written] = asyncio.run(get_replay().texts.read([place]))
    assert written is not None
    return written


async def elements_until_end(socket: Socket) -> list[StreamElement]:
    """Return what a page gets, up to the end of a text."""
    found: list[StreamElement] = []
    while not found or "state" not in found[-1].attributes:
        [data] = await socket.messages()
        found += read_elements(data)
    return found


# --- What pages get


async def test_a_page_gets_the_parts_and_the_end() -> None:
    async with Socket() as socket:
        await socket.subscribe(Announcements().signed_stream_name)
        async with Announcements().text(id="answer") as text:
            await text.awrite("a < b")
            await asyncio.to_thread(flush, PATIENCE)
            await text.awrite(" & c")
        found = await elements_until_end(socket)

    run = found[0].attributes["run"]
    assert [(e.attributes["at"], e.html, e.attributes.get("state")) for e in found] == [
        ("0", "", None),
        ("0", "a &lt; b", None),
        ("5", " &amp; c", "finished"),
    ]
    assert {(e.action, e.target, e.attributes["run"]) for e in found} == {
        ("grow", "answer", run)
    }


async def test_the_end_has_a_number_and_the_parts_have_none() -> None:
    """Thousands of parts do not push other messages out of the log."""
    async with Socket() as socket:
        [accepted] = await socket.subscribe(Announcements().signed_stream_name)
        async with Announcements().text(id="answer") as text:
            for n in range(5_000):
                text.write(f"{n} ")
        await asyncio.to_thread(flush, PATIENCE)
        [(epoch, number)] = await get_replay().tips([Announcements().stream_id])

    assert accepted["position"] == f"{epoch}:0"
    assert number == 1


def test_chunks_are_collected() -> None:
    """What is written while a part is stored is one more part, however much it is."""
    puts: list[Put] = []
    texts = get_replay().texts
    put = texts.put
    may_go_on = threading.Event()

    async def slow(found: Any) -> Any:
        puts.extend(found)
        if len(puts) > 1:  # the first one begins the text
            await asyncio.to_thread(may_go_on.wait, PATIENCE)
        return await put(found)

    texts.put = slow  # type: ignore[method-assign]
    with answer() as text:
        text.write("first ")
        wait_until(lambda: len(puts) == 2, what="the first part is put")
        for n in range(5_000):
            text.write(f"{n} ")
        may_go_on.set()

    rest = "".join(f"{n} " for n in range(5_000))
    assert stored().data == f"first {rest}"
    assert [put.data for put in puts if put.data] == ["first ", rest]


def test_html_takes_the_place_of_the_text() -> None:
    with answer() as text:
        text.write("*a*")
        text.finish(html=f"<em>{text.text[1]}</em>")

    written = stored()
    assert (written.kind, written.data, written.at) == ("html", "<em>a</em>", 3)


def test_an_exception_ends_it_as_failed() -> None:
    def work() -> None:
        with answer() as text:
            text.write("half an ")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        work()

    written = stored()
    assert (written.state, written.data) == ("failed", "half an ")


async def test_a_task_that_is_cancelled_ends_it_as_failed() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with Announcements().text(id="answer") as text:
            text.write("half")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    written = await asyncio.to_thread(stored)
    assert written.state == "failed"


def test_without_a_block_it_is_begun_and_ended_by_hand() -> None:
    text = answer().start()
    text.write("abc")
    text.fail()

    assert stored().state == "failed"


def test_a_text_that_its_program_forgets_loses_its_lease() -> None:
    text = answer().start()
    text.write("abc")
    assert flush(PATIENCE)

    del text
    gc.collect()

    assert not list(text_sender.sender()._put_at)


def test_a_writer_without_news_renews_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_sender, "RENEWAL", 0.01)
    puts: list[Put] = []
    texts = get_replay().texts
    put = texts.put

    async def noting(found: Any) -> Any:
        puts.extend(found)
        return await put(found)

    texts.put = noting  # type: ignore[method-assign]
    with answer() as text:
        text.write("abc")
        wait_until(lambda: len(puts) > 4, what="leases are renewed")

    assert [put.data for put in puts].count("abc") == 1
    assert stored().data == "abc"


# --- What is written


@pytest.mark.parametrize("chunk", [None, 1, b"abc", ["a"], StopIteration("a")])
def test_a_chunk_that_is_no_string_is_an_error(chunk: Any) -> None:
    with pytest.raises(TypeError, match="takes a string"), answer() as text:
        text.write(chunk)

    assert stored().state == "failed"


def test_an_empty_chunk_is_nothing() -> None:
    with answer() as text:
        text.write("")
        text.write("a")

    assert text.text == "a"


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        (["\ud83d", "\ude00"], "😀"),
        (["a\ud83d", "", "\ude00b"], "a😀b"),
        (["\ud83d", "b"], "\ufffdb"),
        (["a", "\ud83d"], "a\ufffd"),
        (["\ude00"], "\ufffd"),
        (["e", "\u0301"], "e\u0301"),
        (["a\0b"], "a\ufffdb"),
        (["a\r", "\nb"], "a\r\nb"),
        (["👩", "\u200d", "👧"], "👩\u200d👧"),
    ],
)
def test_characters_that_were_parted_are_put_together(
    chunks: list[str], text: str
) -> None:
    with answer() as found:
        for chunk in chunks:
            found.write(chunk)

    assert found.text == text
    assert stored().data == text


def test_a_whole_text_stays_as_it_is() -> None:
    assert whole("ä€😀e\u0301\r\n") == "ä€😀e\u0301\r\n"


def test_a_text_has_a_longest_length() -> None:
    """What was written before is shown, and that it failed."""
    with answer() as text:
        text.write("x" * LONGEST)
        with pytest.raises(TextError, match=f"may have {LONGEST}"):
            text.write("y")
        text.fail()

    written = stored()
    assert (written.state, written.at) == ("failed", LONGEST)


def test_html_has_a_longest_length() -> None:
    with answer() as text, pytest.raises(TextError, match="too long"):
        text.finish(html="x" * (LONGEST + 1))

    assert stored().kind == "text"


def test_html_is_a_string() -> None:
    with answer() as text, pytest.raises(TypeError, match="html is a string"):
        text.finish(html=b"<b>")  # type: ignore[arg-type]


@pytest.mark.parametrize("id", ["x" * 256, "\ud800", "a\0"])
def test_an_id_that_cannot_be_sent_is_an_error(id: str) -> None:
    with pytest.raises(ValueError, match="The id of a text"):
        answer(id)


@pytest.mark.parametrize("id", [None, ""])
def test_a_text_needs_an_id(id: object) -> None:
    with pytest.raises(TargetError):
        answer(id)


def test_an_instance_stands_for_its_dom_id(db: None) -> None:
    room = Room.objects.create(name="Cellar")

    assert answer(room).id == f"room_{room.pk}"


# --- In which order


def test_a_second_writer_is_refused_until_the_first_has_ended() -> None:
    with answer() as first:
        first.write("a")
        with pytest.raises(TextError, match="Another writer") as refused:
            answer().start()
        with answer("other"):
            pass
    with answer() as second:
        second.write("b")

    assert refused.value.reason == "taken"
    assert stored().data == "b"


def test_what_was_refused_writes_nothing() -> None:
    with answer() as first:
        second = answer()
        with pytest.raises(TextError):
            second.start()
        with pytest.raises(TextError, match="cannot be written"):
            second.write("b")
        first.write("a")

    assert stored().data == "a"


def test_a_writer_whose_text_was_begun_anew_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was silent for longer than its lease, as on a laptop that has slept."""
    first = answer().start()
    monkeypatch.setattr("turbo.replay.texts.LEASE", 0.0)
    with answer() as second:
        second.write("b")
        first.write("a")
        assert flush(PATIENCE)
        with pytest.raises(TextError, match="another writer has it now"):
            first.write("a")
        with pytest.raises(TextError, match="another writer has it now"):
            first.finish()

    assert stored().data == "b"
    assert "Another writer has the text" in caplog.text


def test_it_ends_once() -> None:
    with answer() as text:
        text.finish()
        with pytest.raises(TextError, match="has ended"):
            text.finish()
        with pytest.raises(TextError, match="has ended"):
            text.fail()
        with pytest.raises(TextError, match="has ended"):
            text.write("a")

    assert stored().state == "finished"


def test_it_begins_once() -> None:
    text = answer()
    with pytest.raises(TextError, match="has not begun"):
        text.write("a")
    with text, pytest.raises(TextError, match="has begun already"):
        text.start()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_write_on() -> None:
    text = answer().start()
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            text.write("a")
        except TextError as error:
            os.write(write, error.reason.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)

    assert said == "of another process"
    text.finish()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_forked_in_the_block_leaves_it_to_its_parent() -> None:
    """The child goes through the end of the block as well."""

    def work() -> int:
        with answer() as text:
            text.write("a")
            child = os.fork()
            if not child:
                raise SystemExit
            return child

    parent = os.getpid()
    try:
        child = work()
    except BaseException as error:
        if os.getpid() == parent:
            raise
        os._exit(0 if isinstance(error, SystemExit) else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert (stored().state, stored().data) == ("finished", "a")


@pytest.mark.django_db(transaction=True)
def test_it_does_not_wait_for_a_transaction() -> None:
    """Nor is it taken back: an answer is true whether or not something is saved."""
    with transaction.atomic():
        with answer() as text:
            text.write("a")
        assert stored().state == "finished"
        transaction.set_rollback(True)

    assert stored().data == "a"


def test_a_text_is_written_in_a_thread() -> None:
    def work() -> None:
        with answer() as text:
            text.write("a")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert stored().data == "a"


async def test_a_text_is_written_under_sync_code() -> None:
    def work() -> None:
        with answer() as text:
            text.write("a")

    await sync_to_async(work)()

    assert (await asyncio.to_thread(stored)).data == "a"


async def test_a_second_async_writer_is_refused() -> None:
    async with Announcements().text(id="answer") as text:
        with pytest.raises(TextError, match="Another writer"):
            await Announcements().text(id="answer").astart()
        await text.afinish(html="<p>a</p>")
        with pytest.raises(TextError, match="has ended"):
            await text.afail()


async def test_a_beginning_that_is_cancelled_leaves_no_writer_behind() -> None:
    texts = get_replay().texts
    put = texts.put
    has_put, may_go_on = threading.Event(), asyncio.Event()

    async def slow(puts: Any) -> Any:
        stored = await put(puts)
        has_put.set()
        if not may_go_on.is_set():
            await asyncio.Event().wait()
        return stored

    texts.put = slow  # type: ignore[method-assign]
    task = asyncio.ensure_future(Announcements().text(id="answer").astart())
    await asyncio.to_thread(has_put.wait, PATIENCE)
    may_go_on.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await asyncio.to_thread(stored)).state == "failed"


async def test_a_beginning_that_is_cancelled_takes_nothing_away() -> None:
    """The first writer ends before the second one is cancelled."""
    texts = get_replay().texts
    put = texts.put
    first, second = answer(), answer()
    tries = 0
    has_tried = threading.Event()

    async def slow(puts: Any) -> Any:
        nonlocal tries
        if puts[0].writer == second._writer and puts[0].state == "writing":
            tries += 1
            if tries == 2:
                has_tried.set()
                await asyncio.Event().wait()
        return await put(puts)

    texts.put = slow  # type: ignore[method-assign]
    async with first:
        first.write("a")
        task = asyncio.ensure_future(second.astart())
        await asyncio.to_thread(has_tried.wait, PATIENCE)
    assert await asyncio.to_thread(flush, PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    written = await asyncio.to_thread(stored)
    assert (written.state, written.data) == ("finished", "a")


def test_a_beginning_that_a_signal_ends_leaves_no_writer_behind() -> None:
    """As the soft time limit of a task queue does, with an exception."""

    class TooLong(Exception):
        pass

    def end(*args: object) -> None:
        raise TooLong

    texts = get_replay().texts
    put = texts.put

    async def slow(puts: Any) -> Any:
        texts.put = put  # type: ignore[method-assign]
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        await asyncio.Event().wait()

    texts.put = slow  # type: ignore[method-assign]
    text = answer()
    before = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(TooLong):
            text.start()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert stored().state == "failed"
    with pytest.raises(TextError, match="has ended"):
        text.write("a")


# --- A log that refuses


def test_a_log_without_texts_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(MemoryReplay, "texts", NoTexts())
    text = answer()

    with pytest.raises(ConfigurationError, match="keeps no growing texts"):
        text.start()
    with pytest.raises(TextError, match="could not be stored"):
        text.write("b")

    assert flush(PATIENCE)
    assert not caplog.records


async def test_an_async_text_says_what_a_log_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemoryReplay, "texts", NoTexts())

    with pytest.raises(ConfigurationError, match="keeps no growing texts"):
        async with answer():
            pass


def test_a_log_that_refuses_a_beginning_says_why() -> None:
    async def refuse(puts: Any) -> Any:
        raise ValueError("not to be stored")

    get_replay().texts.put = refuse  # type: ignore[method-assign]

    with pytest.raises(ValueError, match="not to be stored"):
        answer().start()


@pytest.mark.parametrize(
    "error",
    [
        TypeError("no text"),
        ValueError("no text"),
        DataError("value too long"),
        ResponseError("WRONGTYPE Operation against a key"),
        None,
    ],
    ids=["type", "value", "database", "redis", "no answer"],
)
def test_what_can_never_be_stored_is_given_up_alone(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The other texts of the process go on."""
    texts = get_replay().texts
    put = texts.put

    async def picky(puts: Any) -> list[Stored]:
        if all(part.place.id != "bad" for part in puts):
            return await put(puts)
        if error is not None:
            raise error
        return []

    written = {id: answer(id).start() for id in ("one", "bad", "two")}
    texts.put = picky  # type: ignore[method-assign]
    for text in written.values():
        text.write("a")

    assert [stored("one").data, stored("two").data] == ["a", "a"]
    with pytest.raises(TextError, match="could not be stored"):
        written["bad"].write("b")
    assert "could not be stored" in caplog.text
    for id in ("one", "two"):
        written[id].finish()
        assert stored(id).state == "finished"


# --- A log that is away


async def away(*args: Any) -> Any:
    raise ConnectionError("no log")


def test_a_text_that_begins_without_a_log_is_sent_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = get_replay().texts
    put = texts.put
    texts.put = away  # type: ignore[method-assign]
    with answer() as text:
        text.write("a")
        wait_until(lambda: "have to wait" in caplog.text, what="an outage is noted")
        text.write("b")
        with answer("other") as other:
            other.write("c")
    assert not flush(0.0)
    texts.put = put  # type: ignore[method-assign]

    assert stored().data == "ab"
    assert stored("other").data == "c"
    assert "sent again" in caplog.text


async def test_an_async_text_begins_without_a_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The second one does not even wait for it."""
    texts = get_replay().texts
    put = texts.put
    texts.put = away  # type: ignore[method-assign]
    async with Announcements().text(id="answer") as text:
        text.write("a")
        assert not await asyncio.to_thread(flush, 0.0)
        async with Announcements().text(id="other") as other:
            other.write("b")
    texts.put = put  # type: ignore[method-assign]

    assert (await asyncio.to_thread(stored)).data == "a"
    assert (await asyncio.to_thread(stored, "other")).data == "b"


def test_what_fails_for_an_unknown_reason_is_tried_again() -> None:
    """As at the end of an outage, whose failures do not count."""
    texts = get_replay().texts
    put, failures = texts.put, 0

    async def failing(puts: Any) -> list[Stored]:
        nonlocal failures
        failures += 1
        if failures < 5:
            raise ConnectionError("no log")
        if failures < 7:
            raise RuntimeError("the transport is closed")
        return await put(puts)

    with answer() as text:
        texts.put = failing  # type: ignore[method-assign]
        text.write("a")

    assert flush(PATIENCE)
    assert (stored().data, failures) == ("a", 7)


def test_a_beginning_is_tried_twice_however_long_an_answer_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of the text before may be on its way."""
    monkeypatch.setattr(text_sender, "TRYING", 0.0)
    texts = get_replay().texts
    put, tries = texts.put, 0

    async def taken_at_first(puts: Any) -> list[Stored]:
        nonlocal tries
        tries += 1
        return [Stored(0, 0)] if tries == 1 else await put(puts)

    texts.put = taken_at_first  # type: ignore[method-assign]
    with answer() as text:
        text.write("a")

    assert flush(PATIENCE)
    assert stored().data == "a"


def test_a_publisher_that_is_busy_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its loop does nothing for a while, as for a name that nobody resolves."""
    monkeypatch.setattr(growing, "STUCK", 0.05)
    may_go_on = threading.Event()
    text_sender.sender()._loop.call_soon_threadsafe(may_go_on.wait, PATIENCE)

    text = answer().start()
    monkeypatch.setattr(growing, "STUCK", PATIENCE)
    with answer("other") as other:
        other.write("b")
        text.write("a")
        may_go_on.set()
    text.finish()

    assert flush(PATIENCE)
    assert (stored().data, stored("other").data) == ("a", "b")
    assert "have to wait: TimeoutError: The publisher is busy" in caplog.text


def test_what_the_log_has_lost_is_put_again() -> None:
    with answer() as text:
        text.write("abc")
        assert flush(PATIENCE)
        get_replay().texts._held.clear()  # type: ignore[attr-defined]
        text.write("def")

    assert stored().data == "abcdef"


@pytest.fixture
def silent_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A log that stores what it gets and does not answer; return the ids."""
    texts = get_replay().texts
    put, asked = texts.put, []
    may_answer = threading.Event()

    async def silent(puts: Any) -> Any:
        asked.extend(part.place.id for part in puts)
        stored = await put(puts)
        await asyncio.to_thread(may_answer.wait, PATIENCE)
        return stored

    monkeypatch.setattr(text_sender, "PATIENCE", 0.05)
    texts.put = silent  # type: ignore[method-assign]
    yield asked
    may_answer.set()
    assert (stored().data, stored("other").data) == ("a", "b")


def test_a_log_that_does_not_answer_is_waited_for_once(
    silent_log: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The second text is neither asked for nor waited for."""
    with answer() as text:
        text.write("a")
        wait_until(lambda: len(silent_log) == 2, what="the text is sent")
        with answer("other") as other:
            other.write("b")

    assert silent_log == ["answer", "answer"]
    assert "have to wait: TimeoutError: The log does not answer" in caplog.text


async def test_an_async_text_waits_once_for_a_log_that_does_not_answer(
    silent_log: list[str],
) -> None:
    async with answer() as text:
        text.write("a")
        await asyncio.to_thread(wait_until, lambda: len(silent_log) == 2)
        async with answer("other") as other:
            other.write("b")

    assert silent_log == ["answer", "answer"]


def test_what_waits_is_sent_when_nothing_is_left() -> None:
    """What is written later does not count."""
    with answer() as text:
        text.write("a")
        is_sent = text_sender.sender().progress()
        assert flush(PATIENCE)
        text.write("b")

        assert is_sent()


# --- Tests of projects


def test_a_capture_has_the_end_with_the_whole_text() -> None:
    with capture_broadcasts(Announcements()) as sent, answer() as text:
        text.write("a < ")
        text.write("b")

    [element] = sent
    assert (element.action, element.target) == ("grow", "answer")
    assert element.attributes["state"] == "finished"
    assert element.html == "a &lt; b"


def test_a_capture_has_the_final_html() -> None:
    with capture_broadcasts() as sent, answer() as text:
        text.write("*a*")
        text.finish(html="<em>a</em>")

    assert [element.html for element in sent] == ["<em>a</em>"]


async def test_a_capture_has_an_async_text() -> None:
    text = Announcements().text(id="answer")
    async with capture_broadcasts() as sent, text:
        await text.awrite("a")

    assert [element.html for element in sent] == ["a"]


def test_what_is_captured_is_not_stored() -> None:
    with capture_broadcasts(), answer() as text:
        text.write("a")

    place = TextPlace(Announcements().stream_id, "answer")
    assert asyncio.run(get_replay().texts.read([place])) == [None]


def test_what_is_captured_and_delivered_is_stored() -> None:
    with capture_broadcasts(deliver=True) as sent, answer() as text:
        text.write("a")

    assert [element.html for element in sent] == ["a"]
    assert stored().data == "a"


def test_changes_that_are_suppressed_are_no_texts() -> None:
    """As a verb, a text is no change of a model."""
    with turbo.suppress(), answer() as text:
        text.write("a")

    assert stored().data == "a"


def test_streams_with_the_same_id_have_their_own_texts() -> None:
    with Counter(1).text(id="answer") as one, Counter(2).text(id="answer") as other:
        one.write("1")
        other.write("2")

    assert flush(PATIENCE)
    places = [TextPlace(Counter(n).stream_id, "answer") for n in (1, 2)]
    found = asyncio.run(get_replay().texts.read(places))
    assert [written and written.data for written in found] == ["1", "2"]
