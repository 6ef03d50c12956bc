"""All names of a frame are decided together, and each refusal has a reason."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

import turbo
from tests.support.servers import PATIENCE, wait_until
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, Counter, RoomStream
from turbo import metrics
from turbo.connections.permission_questions import (
    QUICK,
    Permission,
    ask,
    ask_quickly,
)
from turbo.connections.permissions import (
    Allowed,
    Refusal,
    admit,
    forbidden_keys,
    passes,
)
from turbo.connections.visitor import Visitor
from turbo.delivery.names import sign
from turbo.replay import get_replay
from turbo.streams import registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def declare() -> Iterator[Any]:
    """Declare a stream with this ``user_passes_test`` for this test only."""
    known = dict(registry._classes)

    def make(user_passes_test: Any) -> turbo.Stream:
        body = {"user_passes_test": user_passes_test, "__module__": "tests.streams"}
        cls: Any = type("Tested", (turbo.Stream,), body)
        return cls()

    yield make
    registry._classes.clear()
    registry._classes.update(known)


def visitor(user: Any = None) -> Visitor:
    return Visitor({"user": AnonymousUser() if user is None else user})


async def reasons(names: list[str], user: Any = None) -> list[str]:
    decisions = await admit(names, visitor(user))
    return [v.reason if isinstance(v, Refusal) else "" for v in decisions]


async def test_a_grant_holds_the_stream_and_the_subscription() -> None:
    signed = Counter(3).signed_stream_name

    (grant,) = await admit([signed], visitor())

    assert isinstance(grant, Allowed)
    assert grant.subscription.signed == signed
    assert grant.subscription.name == "testapp:Counter:[3]"
    assert grant.stream.number == 3


async def test_decisions_come_in_the_order_of_the_names() -> None:
    room = await Room.objects.acreate(name="Lobby")
    closed = await Room.objects.acreate(name="Cellar", public=False)
    ann = await User.objects.acreate(username="ann")
    before = metrics.counters()

    answer = await reasons(
        [
            "nonsense",
            room.stream.sign(ann),
            closed.stream.sign(ann),
            sign("testapp:RoomStream:999"),
            Announcements().sign(User(pk=999)),
            Announcements().sign(ann),
            sign("testapp:RoomStream:x"),
        ],
        ann,
    )

    assert answer == ["forged", "", "forbidden", "gone", "foreign", "", "unknown"]
    after = metrics.counters()
    assert after["refused"] == before["refused"] + 5
    assert after["granted"] == before["granted"] + 2


async def test_nothing_asked_is_nothing_answered() -> None:
    assert await admit([], visitor()) == []


def test_many_instances_cost_one_query() -> None:
    rooms = [Room.objects.create(name=name) for name in "abcdef"]
    names = [room.stream.signed_stream_name for room in rooms]

    # Called from here, what wants the database runs in this thread and is counted.
    with CaptureQueriesContext(connection) as queries:
        assert async_to_sync(reasons)(names) == [""] * 6

    assert len(queries) == 1


async def test_a_page_that_cannot_be_asked_for_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages that come together visit the database together, but each for itself."""
    room, broken = [await Room.objects.acreate(name=name) for name in ("a", "b")]

    def break_down(stream: Any) -> Room:
        if stream.pk == broken.pk:
            raise DatabaseError("unreadable")
        return room

    signed = [stored.stream.signed_stream_name for stored in (broken, room)]
    monkeypatch.setattr(RoomStream, "instance", property(break_down))
    monkeypatch.setattr(RoomStream, "load", Mock(side_effect=DatabaseError))

    failed, admitted = await asyncio.gather(
        *(admit([name], visitor()) for name in signed),
        return_exceptions=True,
    )

    assert isinstance(failed, DatabaseError)
    assert isinstance(admitted, list)
    assert isinstance(admitted[0], Allowed)


async def test_whoever_comes_with_a_name_for_everybody_is_looked_up() -> None:
    """What was revoked for them is refused, whomever the name is for."""
    ann = await User.objects.acreate(username="ann")
    signed = Announcements().signed_stream_name
    await get_replay().forbid(
        forbidden_keys(Announcements.label, str(ann.pk))[-1:], seconds=60
    )

    assert await reasons([signed], SimpleLazyObject(User.objects.get)) == ["revoked"]
    assert await reasons([signed]) == [""]


async def test_streams_that_everybody_may_see_cost_no_visit_to_the_database() -> None:
    assert await passes([Announcements(), Counter(1)], visitor(AnonymousUser())) == [
        Permission(),
        Permission(),
    ]


async def test_the_test_may_be_a_coroutine(declare: Any) -> None:
    async def only_staff(self: Any, user: Any) -> bool:
        return bool(user.is_staff)

    stream = declare(only_staff)

    assert await passes([stream], visitor(User(is_staff=True))) == [Permission()]
    assert await passes([stream], visitor(User())) == [Permission("forbidden")]


async def test_a_coroutine_finds_a_user_who_was_looked_up(declare: Any) -> None:
    """In the event loop it could not be: a query is not allowed there."""
    await User.objects.acreate(username="ann", is_staff=True)

    async def only_staff(self: Any, user: Any) -> bool:
        return bool(user.is_staff)

    user = SimpleLazyObject(User.objects.get)

    assert await reasons([declare(only_staff).signed_stream_name], user) == [""]


async def test_a_coroutine_that_hangs_keeps_only_its_own_page_waiting(
    declare: Any,
) -> None:
    async def never(self: Any, user: Any) -> bool:
        await asyncio.Event().wait()
        raise AssertionError

    signed = declare(never).signed_stream_name
    hanging = [asyncio.ensure_future(reasons([signed])) for _ in range(500)]
    await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE):
        assert await reasons([Announcements().signed_stream_name]) == [""]
    assert not any(task.done() for task in hanging)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_test_that_fails_refuses_and_is_logged(
    declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, user: Any) -> bool:
        raise ZeroDivisionError

    assert await passes([declare(broken)], visitor(AnonymousUser())) == [
        Permission("forbidden")
    ]
    assert "user_passes_test() failed; the subscription is refused" in caplog.text


async def test_an_async_test_that_fails_refuses_and_is_logged(
    declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Any, user: Any) -> bool:
        raise ZeroDivisionError

    assert await passes([declare(broken)], visitor(AnonymousUser())) == [
        Permission("forbidden")
    ]
    assert "ZeroDivisionError" in caplog.text


async def test_an_async_test_that_is_cancelled_refuses(declare: Any) -> None:
    async def cancelled(self: Any, user: Any) -> bool:
        raise asyncio.CancelledError

    assert await passes([declare(cancelled)], visitor(AnonymousUser())) == [
        Permission("forbidden")
    ]


@pytest.mark.parametrize("passed", [True, False])
async def test_a_coroutine_behind_a_plain_function_is_awaited(
    declare: Any, passed: bool
) -> None:
    async def test(self: Any, user: Any) -> bool:
        return passed

    def decorated(self: Any, user: Any) -> Any:
        return test(self, user)

    expected = "" if passed else "forbidden"
    assert await passes([declare(decorated)], visitor(AnonymousUser())) == [
        Permission(expected)
    ]


async def test_a_class_with_one_slow_test_is_asked_apart_for_a_while(
    declare: Any,
) -> None:
    def user_passes_test(self: Any, user: Any) -> bool:
        time.sleep(0.0 if user.is_staff else 2 * QUICK)
        return True

    stream = declare(user_passes_test)
    assert ask_quickly(stream, User()) == Permission()
    assert ask_quickly(stream, User(is_staff=True)) is None
    assert await passes([stream], visitor(User(is_staff=True))) == [Permission()]
    assert ask_quickly(stream, User(is_staff=True)) is None


async def test_a_name_of_which_no_stream_can_be_made_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    signed = sign("testapp:Counter:[1,2,3]")

    assert await reasons([signed, signed]) == ["unknown"] * 2
    assert caplog.text.count("could not be turned into a stream") == 1


def test_the_keys_of_a_revocation_go_from_wide_to_narrow() -> None:
    assert forbidden_keys("a:B", None) == ["stream=a:B"]
    assert forbidden_keys(None, "1") == ["user=1"]
    assert forbidden_keys("a:B", "1")[-1] == "user=1 stream=a:B"


# --- Questions that are shared


class Slow:
    """Something whose test waits until it may go on."""

    asked: ClassVar[list[Any]] = []
    go = threading.Event()

    def user_passes_test(self, user: Any) -> bool:
        Slow.asked.append(user)
        return Slow.go.wait(PATIENCE)


@pytest.fixture
def slow() -> Iterator[type[Slow]]:
    Slow.asked.clear()
    Slow.go.clear()
    yield Slow
    Slow.go.set()


async def test_what_nobody_waits_for_any_more_is_not_asked(slow: type[Slow]) -> None:
    asker = visitor(User(pk=1))
    first = asyncio.ensure_future(ask({"first": slow()}, asker))
    await asyncio.to_thread(wait_until, lambda: len(slow.asked) == 1)
    left = asyncio.ensure_future(ask({"second": slow()}, asker))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    slow.go.set()

    assert await first == {"first": Permission()}
    assert await ask({"third": slow()}, asker) == {"third": Permission()}
    assert len(slow.asked) == 2


async def test_a_question_is_asked_of_what_its_last_asker_knows(
    slow: type[Slow],
) -> None:
    """Whoever shares it has read the user, and the instance, later."""
    asker = visitor(User(pk=1))
    busy = asyncio.ensure_future(ask({"busy": slow()}, asker))
    await asyncio.to_thread(wait_until, lambda: len(slow.asked) == 1)
    older = asyncio.ensure_future(ask({"name": slow()}, asker))
    await asyncio.sleep(0)
    asker.user = User(pk=1, username="newer")
    newer = asyncio.ensure_future(ask({"name": slow()}, asker))
    await asyncio.sleep(0)
    slow.go.set()
    await asyncio.gather(busy, older, newer)

    assert [user.username for user in slow.asked] == ["", "newer"]
