"""Every public way out waits for the transactions that are open in its thread."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections, transaction
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, TestCase, override_settings
from django.urls import path

import turbo
from tests.support.listening import Undo, rolled_back
from tests.support.servers import PATIENCE
from tests.testapp.models import Board, Room
from tests.testapp.streams import Announcements
from turbo.bindings.cache.notify import send_to_group
from turbo.changes import watch
from turbo.delivery.names import stream_id
from turbo.observers import observer
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.replay import get_replay
from turbo.streams.verbs import Verbs
from turbo.testing import assert_no_broadcasts, capture_broadcasts

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

NAME = "testapp:Announcements"
SID = stream_id(NAME)

rung = Signal()


class Banner(turbo.components.BroadcastComponent):
    class Meta:
        app_label = "testapp"

    template_name = "testapp/hello.html"


class RungConsumer(AsyncAPIConsumer):
    @observer(rung)
    async def bell(self, message: Any, **kwargs: Any) -> None:
        """Do nothing: only what goes out is of interest here."""


def as_sync(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    """Return a function that calls ``call``; a coroutine is waited for."""
    if iscoroutinefunction(call):
        return lambda: async_to_sync(call)(*args, **kwargs)
    return lambda: call(*args, **kwargs)


def verbs() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each verb, and its async version, with arguments that fit."""
    for name, _ in inspect.getmembers(Verbs, inspect.isfunction):
        if name.startswith("_"):
            continue
        plain = name.removeprefix("a") if hasattr(Verbs, name[1:]) else name
        place: dict[str, Any] = {} if plain == "refresh" else {"id": "x"}
        content = {} if plain in ("refresh", "remove") else {"text": "a"}
        args = ["ring"] if plain == "action" else []
        verb = getattr(Announcements(), name)
        yield name, as_sync(verb, *args, **place, **content)


def log_out() -> None:
    request = RequestFactory().get("/")
    request.session = SessionStore("a" * 32)
    user_logged_out.send(User, request=request, user=User(pk=1))


STREAM = Announcements()
FRAME = turbo.render_frame_string("a").append(id="x")
WAYS: dict[str, Callable[[], Any]] = dict(verbs()) | {
    "stream": as_sync(STREAM.stream, FRAME),
    "stream_raw": as_sync(STREAM.stream_raw, "<turbo-stream>"),
    "astream": as_sync(STREAM.astream, FRAME),
    "astream_raw": as_sync(STREAM.astream_raw, "<turbo-stream>"),
    "stream_to": as_sync(FRAME.stream_to, STREAM),
    "template": as_sync(STREAM.append, "testapp/hello.html", {}, id="x"),
    "atemplate": as_sync(STREAM.aappend, "testapp/hello.html", {}, id="x"),
    "render": as_sync(Banner().render, name="a"),
    "arender": as_sync(Banner().arender, name="a"),
    "revoke": as_sync(turbo.revoke, stream=STREAM),
    "send_to_group": as_sync(send_to_group, "staff", "notice"),
    "observer": as_sync(rung.send, None),
    "hook": as_sync(lambda: Board.objects.create(name="Work")),
    "announce": as_sync(lambda: turbo.announce(Board(pk=1), "create")),
}


def update(text: str) -> None:
    STREAM.update(text=text, id="x")


def texts(sent: list[Any]) -> list[str]:
    """Return the contents of what was sent."""
    return [
        data.partition("<template>")[2].partition("</template>")[0] for _, data in sent
    ]


def stored() -> list[str | None]:
    """Return what the log holds, without its elements; ``None`` is a gap."""
    assert turbo.flush(PATIENCE)

    async def read() -> list[str | None]:
        (tip,) = await get_replay().tips([SID])
        if tip is None:
            return []
        (history,) = await get_replay().read([(SID, f"{tip[0]}:0")])
        return [entry.data for entry in history.entries]

    found = asyncio.run(read())
    return [data and texts([(NAME, data)])[0] for data in found]


# --- One transaction


@pytest.mark.parametrize("way", WAYS)
def test_it_waits_for_the_commit(way: str, sent: list[Any]) -> None:
    with transaction.atomic():
        WAYS[way]()
        waiting = list(sent)

    assert waiting == []
    assert len(sent) == 1


@pytest.mark.parametrize("way", WAYS)
def test_it_is_not_sent_if_the_transaction_is_rolled_back(
    way: str, sent: list[Any]
) -> None:
    with rolled_back():
        WAYS[way]()

    assert sent == []


@pytest.mark.parametrize("way", WAYS)
def test_it_does_not_wait_without_a_transaction(way: str, sent: list[Any]) -> None:
    WAYS[way]()

    assert len(sent) == 1


def test_a_log_out_is_told_of_however_the_transaction_ends(sent: list[Any]) -> None:
    with transaction.atomic():
        log_out()
        assert sent == []
    assert len(sent) == 1

    with rolled_back():
        log_out()
    assert len(sent) == 2


def test_all_is_sent_in_the_order_of_calls_and_of_first_saves(sent: list[Any]) -> None:
    watching = watch(Room, lambda change: update(change.instance.name))

    with transaction.atomic():
        update("1")
        room = Room.objects.create(name="saved")
        update("2")
        room.name = "saved again"
        room.save()
        transaction.on_commit(lambda: update("hook of the application"))
        update("3")
    watching.stop()

    assert texts(sent) == ["1", "saved again", "2", "hook of the application", "3"]


def test_a_savepoint_takes_along_what_was_called_inside(sent: list[Any]) -> None:
    with transaction.atomic():
        update("1")
        with rolled_back():
            update("lost")
            with transaction.atomic():
                update("lost too")
        with transaction.atomic():
            update("2")
        with transaction.atomic(savepoint=False):
            update("3")

    assert texts(sent) == ["1", "2", "3"]


def test_a_durable_block_is_a_transaction(sent: list[Any]) -> None:
    with transaction.atomic(durable=True):
        update("1")
        assert sent == []

    assert texts(sent) == ["1"]


def test_it_is_rendered_at_the_call(sent: list[Any]) -> None:
    room = Room(name="before")

    with transaction.atomic():
        STREAM.update("testapp/hello.html", {"name": room}, id="x")
        room.name = "after"

    assert "before" in texts(sent)[0]


def test_a_transaction_by_hand_ends_with_commit_or_rollback(sent: list[Any]) -> None:
    transaction.set_autocommit(False)
    try:
        update("lost")
        transaction.rollback()
        update("1")
        with transaction.atomic():
            update("2")
        assert sent == []
        transaction.commit()
        assert texts(sent) == ["1", "2"]
        update("lost")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)

    assert texts(sent) == ["1", "2"]


def test_another_thread_does_not_wait(sent: list[Any]) -> None:
    with transaction.atomic():
        thread = threading.Thread(target=update, args=["1"])
        thread.start()
        thread.join()

        assert texts(sent) == ["1"]


def test_a_task_outlives_the_thread_that_waited(sent: list[Any]) -> None:
    """Regression: its verb was handed to a thread that waited no longer."""
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        await STREAM.aupdate(text="late", id="x")

    async def start() -> None:
        gone = asyncio.Event()
        tasks.append(asyncio.create_task(after(gone, work)))
        started.append(gone)

    async def after(event: asyncio.Event, then: Callable[[], Any]) -> None:
        await event.wait()
        await then()

    async def main() -> None:
        await sync_to_async(lambda: async_to_sync(start)())()
        started[0].set()
        await tasks[0]

    started: list[asyncio.Event] = []
    asyncio.run(main())

    assert texts(sent) == ["late"]


def test_a_failing_hook_of_the_application_holds_nothing_back(sent: list[Any]) -> None:
    def fail() -> None:
        raise Undo

    @transaction.atomic
    def work() -> None:
        transaction.on_commit(fail)
        update("1")

    with pytest.raises(Undo):
        work()

    assert texts(sent) == ["1"]


@pytest.mark.parametrize("robust", [False, True])
def test_a_hook_of_the_application_that_ends_the_thread_holds_nothing_back(
    sent: list[Any], robust: bool
) -> None:
    @transaction.atomic
    def work() -> None:
        update("1")
        transaction.on_commit(sys.exit, robust=robust)
        update("2")

    with pytest.raises(SystemExit):
        work()

    assert texts(sent) == ["1", "2"]


def test_a_watcher_that_is_cancelled_holds_nothing_back(sent: list[Any]) -> None:
    def cancel(change: Any) -> None:
        raise asyncio.CancelledError

    @transaction.atomic
    def work() -> None:
        for text in "12":
            update(text)
            Room.objects.create(name=text)
        transaction.on_commit(lambda: None)
        update("3")

    watching = watch(Room, cancel)
    with pytest.raises(asyncio.CancelledError):
        work()
    watching.stop()

    assert texts(sent) == ["1", "2", "3"]


def test_after_a_commit_by_hand_autocommit_is_off_whatever_a_watcher_raises(
    sent: list[Any],
) -> None:
    watching = watch(Room, lambda change: sys.exit())
    transaction.set_autocommit(False)
    try:
        Room.objects.create(name="Lobby")
        update("1")
        with pytest.raises(SystemExit):
            transaction.commit()
        assert not transaction.get_autocommit()
    finally:
        transaction.set_autocommit(True)
        watching.stop()

    assert texts(sent) == ["1"]


def test_a_connection_that_is_closed_drops_what_waits(sent: list[Any]) -> None:
    with transaction.atomic(using="other"):
        update("lost")
        connections["other"].close()
        connections["other"].connection = None

    assert sent == []


# --- Immediately


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"hook", "announce"}))
def test_immediately_does_not_wait(way: str, sent: list[Any]) -> None:
    with rolled_back():
        with turbo.immediately():
            WAYS[way]()
        assert len(sent) == 1


def test_immediately_is_a_decorator(sent: list[Any]) -> None:
    @turbo.immediately()
    def work() -> None:
        update("1")

    with rolled_back():
        work()

    assert texts(sent) == ["1"]


def test_immediately_does_not_make_hooks_run_before_the_commit(sent: list[Any]) -> None:
    with rolled_back(), turbo.immediately():
        WAYS["hook"]()

    assert sent == []


# --- Several databases


def test_it_waits_for_all_databases(sent: list[Any]) -> None:
    with transaction.atomic(using="other"):
        with transaction.atomic():
            update("1")
        assert sent == []
        update("2")

    assert texts(sent) == ["1", "2"]


def test_in_a_hook_it_waits_for_none(sent: list[Any]) -> None:
    with transaction.atomic(using="other"):
        WAYS["hook"]()

        assert len(sent) == 1


@pytest.mark.parametrize("inner", ["default", "other"])
def test_one_commit_and_one_rollback_make_a_gap(inner: str) -> None:
    outer = {"default": "other", "other": "default"}[inner]

    with rolled_back(using=outer), transaction.atomic(using=inner):
        update("in doubt")
    assert stored() == [None]

    with transaction.atomic(using=outer), rolled_back(using=inner):
        update("in doubt")
    assert stored() == [None, None]

    with rolled_back(using=outer), rolled_back(using=inner):
        update("nothing was committed")
    assert stored() == [None, None]


# --- Overtaking


def test_what_was_rendered_earlier_and_sent_later_is_followed_by_a_gap() -> None:
    with transaction.atomic():
        update("older")
        with turbo.immediately():
            update("newer")

    assert stored() == ["newer", "older", None]


def test_a_rendering_of_another_thread_may_be_newer() -> None:
    with transaction.atomic():
        update("older")
        thread = threading.Thread(target=update, args=["newer"])
        thread.start()
        thread.join()

    assert stored() == ["newer", "older", None]


def test_a_newer_state_may_be_sent_while_it_is_rendered() -> None:
    class Overtaken:
        def __str__(self) -> str:
            thread = threading.Thread(target=update, args=["newer"])
            thread.start()
            thread.join()
            assert turbo.flush(PATIENCE)
            return "older"

    with transaction.atomic():
        STREAM.update("testapp/hello.html", {"name": Overtaken()}, id="x")

    newer, older, gap = stored()
    assert (newer, gap) == ("newer", None)
    assert "older" in (older or "")


def test_what_is_sent_in_the_order_of_its_rendering_is_not_overtaken() -> None:
    with transaction.atomic():
        update("1")
        update("2")
        STREAM.append(text="3", id="x")
        STREAM.replace(text="4", id="y")
    update("5")
    with transaction.atomic():
        update("6")

    assert stored() == ["1", "2", "3", "4", "5", "6"]


def test_it_is_not_overtaken_by_what_a_hook_sends_to_another_place() -> None:
    watching = watch(Room, lambda change: STREAM.append(text="hook", id="list"))

    with transaction.atomic():
        update("1")
        Room.objects.create(name="Lobby")
        update("2")
    watching.stop()

    assert stored() == ["1", "hook", "2"]


def test_it_is_not_overtaken_by_progress_in_another_place() -> None:
    with transaction.atomic():
        for number in "12":
            update(number)
            with turbo.immediately():
                STREAM.update(text="progress", id="progress")

    assert stored() == ["progress", "progress", "1", "2"]


def test_what_overwrites_something_else_is_not_overtaken() -> None:
    with transaction.atomic():
        update("x")
        with turbo.immediately():
            STREAM.update(text="y", id="y")

    assert stored() == ["y", "x"]


def test_a_frame_of_several_elements_is_overtaken_at_each() -> None:
    frame = turbo.render_frame_string("older").update(id="y").update(id="x")

    with transaction.atomic():
        STREAM.stream(frame)
        with turbo.immediately():
            update("newer")

    assert stored() == ["newer", "older", None]


# --- Views


def three_verbs(request: HttpRequest) -> HttpResponse:
    for text in "123":
        update(text)
    if request.GET:
        raise Undo
    return HttpResponse()


urlpatterns = [path("", three_verbs)]


@override_settings(ROOT_URLCONF=__name__)
def test_a_view_that_fails_with_atomic_requests_sends_nothing(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)

    assert client.get("/?fail=1").status_code == 500
    assert sent == []

    assert client.get("/").status_code == 200
    assert texts(sent) == ["1", "2", "3"]


# --- Tests of users


class InTestCase(TestCase):
    """The kit runs what waits for the commit of the test's own transaction."""

    databases = frozenset(["default", "other"])

    def test_a_capture_has_what_waits_at_its_end(self) -> None:
        with capture_broadcasts(STREAM) as sent:
            update("1")
            WAYS["hook"]()
            with rolled_back():
                update("lost")
            update("2")
            assert sent == []

        assert [element.html for element in sent] == ["1", "2"]

    def test_what_waited_before_the_capture_goes_on_waiting(self) -> None:
        update("before")

        with capture_broadcasts(STREAM) as sent:
            update("1")
        with capture_broadcasts(STREAM) as more:
            update("2")

        assert [element.html for element in [*sent, *more]] == ["1", "2"]

    def test_what_waits_for_a_transaction_of_the_test_goes_on_waiting(self) -> None:
        with rolled_back(), assert_no_broadcasts():
            update("1")

    def test_djangos_own_capture_runs_it(self) -> None:
        with capture_broadcasts() as sent:
            with (
                self.captureOnCommitCallbacks(using="other", execute=True),
                self.captureOnCommitCallbacks(execute=True),
            ):
                update("1")
            assert [element.html for element in sent] == ["1"]
