"""Who is present in a stream, over the tabs of one process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.template import Context, Template, TemplateSyntaxError
from django.test import override_settings

import turbo
from tests.support.clients import Socket
from tests.support.servers import PATIENCE, wait_until
from tests.support.tenants import at, tenant, using_tenants
from tests.testapp.models import Room, UuidUser
from tests.testapp.streams import Announcements, Lounge
from turbo.connections import presence
from turbo.connections.presence import _keepers
from turbo.connections.revocation import revoke_session
from turbo.delivery import questions
from turbo.delivery.broadcast import get_publisher
from turbo.delivery.names import CONTROL
from turbo.delivery.recorders import recording
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay
from turbo.replay.leases import Change, Known, Lease, Look, MemoryLeases, Times
from turbo.replay.memory import MemoryReplay
from turbo.streams.present import member_of, users_of

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = Lounge(1)


@pytest.fixture(autouse=True)
def _short() -> Iterator[None]:
    with override_settings(TURBO={"PRESENCE_GRACE": 0.2}):
        yield


@pytest.fixture
def ann() -> User:
    return User.objects.create(username="ann")


@pytest.fixture
def bob() -> User:
    return User.objects.create(username="bob")


class Told:
    """What the hooks broadcast, which goes no further."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.data: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __call__(self, name: str, data: str) -> bool:
        if name == CONTROL:
            return True
        self.names.append(name)
        self.data.append(data)
        self._loop.call_soon_threadsafe(self._changed.set)
        return False

    async def until(self, count: int) -> list[str]:
        """Return what was told, when it is so much."""
        async with asyncio.timeout(PATIENCE):
            while len(self.data) < count:
                await self._changed.wait()
                self._changed.clear()
        return self.data


@pytest.fixture
async def told() -> Any:
    with recording(found := Told()):
        yield found


def joined(user: User) -> str:
    return (
        f'<turbo-stream action="append" target="people"><template>'
        f'<li id="user_{user.pk}">{user.username}</li></template></turbo-stream>'
    )


def left(user: User) -> str:
    return f'<turbo-stream action="remove" target="user_{user.pk}"></turbo-stream>'


async def test_a_user_joins_with_the_first_tab_and_leaves_with_the_last(
    told: Told, ann: User, bob: User
) -> None:
    async with Socket(ann) as first:
        await first.subscribe(ROOM.sign(ann))
        await told.until(1)
        async with Socket(ann) as second, Socket(bob) as third:
            await second.subscribe(ROOM.sign(ann))
            await third.subscribe(ROOM.sign(bob))
            await told.until(2)
            assert await ROOM.apresent_users() == [ann, bob]
        await told.until(3)
        assert await ROOM.apresent_users() == [ann]

    assert await told.until(4) == [joined(ann), joined(bob), left(bob), left(ann)]
    assert await ROOM.apresent_users() == []


async def test_the_hooks_are_called_in_the_tenant_of_the_stream(
    told: Told, ann: User
) -> None:
    """The task that calls them works for all tenants, and so does its thread."""
    with using_tenants(PRESENCE_GRACE=0.2):
        with tenant("acme"):
            signed = ROOM.sign(ann)
        async with Socket(ann, **at("acme")) as socket:
            await socket.subscribe(signed)
            await told.until(1)
            assert await ROOM.apresent_users() == []
            with tenant("acme"):
                assert await ROOM.apresent_users() == [ann]
        assert await told.until(2) == [joined(ann), left(ann)]

    assert told.names == [f"acme/{ROOM.stream_name}"] * 2


async def test_users_may_have_keys_that_are_no_numbers(told: Told) -> None:
    with override_settings(AUTH_USER_MODEL="testapp.UuidUser"):
        ann = await UuidUser.objects.acreate(username="ann")
        async with Socket(ann) as socket:
            [answer] = await socket.subscribe(ROOM.sign(ann))
            assert answer["type"] == "subscribed"
            await told.until(1)
            assert await ROOM.apresent_users() == [ann]
        data = await told.until(2)

    assert f'<li id="uuid_user_{ann.pk}">ann</li>' in data[0]
    assert data[1] == (
        f'<turbo-stream action="remove" target="uuid_user_{ann.pk}"></turbo-stream>'
    )


async def test_a_reload_is_no_leaving(told: Told, ann: User, bob: User) -> None:
    """Who comes back in time was there all the time."""
    with override_settings(TURBO={"PRESENCE_GRACE": 3_600.0}):
        async with Socket(ann) as before:
            await before.subscribe(ROOM.sign(ann))
            await told.until(1)
        async with Socket(bob) as other:  # so that her leaving is noted
            await other.subscribe(ROOM.sign(bob))
            await told.until(2)
        assert await ROOM.apresent_users() == [ann, bob]
        async with Socket(ann) as after:
            await after.subscribe(ROOM.sign(ann))
            assert await ROOM.apresent_users() == [ann, bob]

    assert told.data == [joined(ann), joined(bob)]


async def test_a_page_with_two_names_counts_once(told: Told, ann: User) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann), ROOM.sign(None), since="@1")
        await told.until(1)
        await socket.send(type="unsubscribe", streams=[ROOM.sign(None)])
        await socket.receive()
        assert await ROOM.apresent_users() == [ann]

    assert await told.until(2) == [joined(ann), left(ann)]


@pytest.mark.parametrize("user", [None, AnonymousUser()])
async def test_nobody_is_present_who_is_not_logged_in(user: Any, ann: User) -> None:
    """Without a user there is nothing to note."""
    async with Socket(user) as socket:
        assert (await socket.subscribe(ROOM.sign(user)))[0]["type"] == "subscribed"

    assert await ROOM.apresent_users() == []
    assert not _keepers.values()


ENDS: dict[str, Callable[[User], None]] = {
    "revoked": lambda user: turbo.revoke(user=user, stream=ROOM),
    "of the user": lambda user: turbo.revoke(user=user),
    "of the stream": lambda user: turbo.revoke(stream=ROOM),
}


@pytest.mark.parametrize("how", ENDS)
async def test_who_is_revoked_has_left(told: Told, ann: User, how: str) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))
        await told.until(1)
        await sync_to_async(ENDS[how])(ann)

        assert await told.until(2) == [joined(ann), left(ann)]


async def test_who_is_refused_is_not_present(told: Told) -> None:
    eve = await User.objects.acreate(username="eve")
    async with Socket(eve) as socket:
        [answer] = await socket.subscribe(ROOM.sign(eve))
        assert answer["reason"] == "forbidden"

        assert await ROOM.apresent_users() == []


async def test_who_leaves_the_stream_has_left(told: Told, ann: User) -> None:
    async with Socket(ann) as socket:
        name = ROOM.sign(ann)
        await socket.subscribe(name)
        await told.until(1)
        await socket.send(type="unsubscribe", streams=[name])

        assert await told.until(2) == [joined(ann), left(ann)]


@pytest.mark.parametrize("error", [ValueError("wrong"), asyncio.CancelledError()])
async def test_a_hook_that_fails_is_logged_and_not_called_again(
    told: Told,
    ann: User,
    declaring: None,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    """A hook may await a task that was cancelled."""

    class Failing(Lounge):
        class Meta(Lounge.Meta):
            app_label = "tests"

        def on_join(self, user: Any) -> None:
            super().on_join(user)
            raise error

    async with Socket(ann) as socket:
        await socket.subscribe(Failing(1).sign(ann))
        await told.until(1)
    await told.until(2)

    assert told.data == [joined(ann), left(ann)]
    assert "Failing.on_join() failed." in caplog.text


async def test_an_account_that_was_deleted_leaves_by_its_key(
    told: Told, ann: User, bob: User
) -> None:
    key = ann.pk
    async with Socket(ann) as socket, Socket(bob) as other:
        await socket.subscribe(ROOM.sign(ann))
        await told.until(1)
        await other.subscribe(ROOM.sign(bob))
        await told.until(2)
        await User.objects.filter(pk=key).adelete()
        assert await ROOM.apresent_users() == [bob]

    gone = [data for data in await told.until(4) if "remove" in data]
    assert sorted(gone) == sorted([left(User(pk=key)), left(bob)])


async def test_users_come_with_one_query_in_the_order_of_joining(
    told: Told, ann: User, bob: User, django_assert_num_queries: Any
) -> None:
    async with Socket(bob) as first, Socket(ann) as second:
        await first.subscribe(ROOM.sign(bob))
        await told.until(1)
        await second.subscribe(ROOM.sign(ann))
        await told.until(2)

        def render() -> str:
            template = "{% load turbo_streams %}{% turbo_present room as people %}"
            template += "{% for one in people %}{{ one.username }} {% endfor %}"
            with django_assert_num_queries(1):
                return Template(template).render(Context({"room": ROOM}))

        assert await sync_to_async(render)() == "bob ann "


def test_a_stream_without_presence_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"set Meta\.presence"):
        Announcements().present_users()


async def test_it_also_says_so_to_coroutines() -> None:
    with pytest.raises(ConfigurationError, match=r"set Meta\.presence"):
        await Announcements().apresent_users()


def test_the_tag_names_what_is_no_stream() -> None:
    template = Template("{% load turbo_streams %}{% turbo_present thing as people %}")

    with pytest.raises(TemplateSyntaxError, match="turbo_present: thing is not"):
        template.render(Context())
    with pytest.raises(TemplateSyntaxError, match="turbo_present: There is no stream"):
        template.render(Context({"thing": 7}))


async def test_without_presence_nothing_is_noted(ann: User) -> None:
    """A project that does not use it has no leases and no task."""
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(ann) as socket:
        await socket.subscribe(Announcements().sign(ann), room.stream.sign(ann))

        assert not _keepers.values()
        assert not (await get_replay().leases.look({})).is_used


async def test_the_task_ends_with_the_last_leaving(told: Told, ann: User) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))
        await told.until(1)
    await told.until(2)

    task = _keepers.get()._task
    assert task is not None
    async with asyncio.timeout(PATIENCE):
        await task


async def test_who_logs_out_has_left(told: Told, ann: User, settings: Any) -> None:
    class Session:
        session_key = "s1"

    async with Socket(ann, session=Session()) as socket:
        await socket.subscribe(ROOM.sign(ann))
        await told.until(1)
        await sync_to_async(revoke_session)("s1")

        assert await told.until(2) == [joined(ann), left(ann)]


async def test_who_comes_and_goes_all_the_time_joins_once(
    told: Told, ann: User, bob: User
) -> None:
    with override_settings(TURBO={"PRESENCE_GRACE": 3_600.0}):
        for _ in range(30):
            async with Socket(ann) as socket:
                await socket.subscribe(ROOM.sign(ann))
        await told.until(1)
        async with Socket(bob) as other:  # so that her leaving would be told
            await other.subscribe(ROOM.sign(bob))

            assert await told.until(2) == [joined(ann), joined(bob)]


async def test_what_cannot_be_read_does_not_stop_the_others(
    told: Told, ann: User, caplog: pytest.LogCaptureFixture
) -> None:
    """Another version may have noted it, or a stream that is gone."""
    leases = get_replay().leases
    gone = member_of("testapp:Gone", str(ann.pk))
    strange = [Lease(ROOM.stream_id, name, 3_600.0) for name in ("?", "7", gone)]
    await leases.hold("another", strange)

    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))
        assert await told.until(1) == [joined(ann)]
    await told.until(2)

    assert "It cannot be read who has joined or left." in caplog.text


async def test_nobody_is_told_of_a_room_that_was_deleted(
    told: Told, ann: User, declare: Callable[..., Any]
) -> None:
    """Its hooks could not load it; who is there leaves without a word."""
    asked: list[int] = []
    stream = declare(
        "Deleted",
        Room,
        attribute="deleted_stream",
        presence=True,
        on_join=lambda self, user: self.append(text=self.instance.name, id="rooms"),
        on_leave=lambda self, user: asked.append(user.pk),
    )
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(ann) as socket:
        await socket.subscribe(stream(room.pk).sign(ann))
        await told.until(1)
        await Room.objects.filter(pk=room.pk).adelete()
    task = _keepers.get()._task
    assert task is not None
    async with asyncio.timeout(PATIENCE):
        await task

    assert asked == []


class Faulty(MemoryLeases):
    """Leases of a server that is away, or has lost its data, for a moment."""

    def __init__(self) -> None:
        super().__init__(
            clock=lambda: time.monotonic() if self.now is None else self.now
        )
        self.now: float | None = None
        self.extended = 0
        self.failing = self.losing = 0
        self.slow: asyncio.Event | None = None
        self.hangs: bool | None = None
        self.gives_up = False
        self.asked = self.cancelled = 0

    async def look(self, known: Known) -> Look:
        if self.failing:
            self.failing -= 1
            raise ConnectionError("no log")
        return await super().look(known)

    async def hold(self, holder: str, leases: Sequence[Lease]) -> bool:
        if self.losing:
            self.losing -= 1
            return False
        held = await super().hold(holder, leases)
        if self.slow is not None:
            await self.slow.wait()
        return held

    async def extend(self, changes: Sequence[Change]) -> list[Change]:
        extended = await super().extend(changes)
        self.extended += 1
        return extended

    async def members(self, streams: Sequence[str]) -> list[list[str]]:
        self.asked += 1
        if self.hangs is None:
            raise ConnectionError("no log")
        if self.gives_up:
            raise TimeoutError
        if self.hangs:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled += 1
        return await super().members(streams)


class FaultyLog(MemoryReplay):
    """A log with such leases."""

    leases = Faulty()


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setattr(FaultyLog, "leases", found := Faulty())
    own = {"REPLAY_BACKEND": f"{__name__}.FaultyLog", "PRESENCE_GRACE": 0.2}
    with override_settings(TURBO=own):
        yield found


async def test_an_outage_is_said_once_and_delays_the_joining(
    faulty: Faulty, told: Told, ann: User, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.failing = 2
    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))

        assert await told.until(1) == [joined(ann)]

    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if " noted " in line] == [
        "It cannot be noted who is present: ConnectionError: no log",
        "It is noted again who is present.",
    ]


async def test_what_could_not_be_held_is_held_after_another_look(
    faulty: Faulty, told: Told, ann: User
) -> None:
    faulty.losing = 1
    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))

        assert await told.until(1) == [joined(ann)]


def slow(begun: list[Any], done: threading.Event) -> Callable[[Any, Any], None]:
    """Return a hook that tells when it may."""

    def on_join(self: Any, user: Any) -> None:
        begun.append(user)
        done.wait(PATIENCE)
        welcome(self, user)

    return on_join


async def test_a_hook_may_take_longer_than_the_taking_of_a_change(
    faulty: Faulty, told: Told, ann: User, declare: Callable[..., Any]
) -> None:
    """The process says again and again that it is still telling."""
    faulty.times, faulty.now = Times(tell_again=30_000), 1.0
    begun: list[Any] = []
    done = threading.Event()

    stream = declare("Tardy", Room, presence=True, on_join=slow(begun, done))
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(ann) as socket:
        await socket.subscribe(stream(room.pk).sign(ann))
        await asyncio.to_thread(wait_until, lambda: begun)
        for _ in range(5):
            await asyncio.to_thread(until_extended, faulty, faulty.extended + 1)
            faulty.now += 0.02
            assert (await faulty.look({})).changes == ()  # of another process
        done.set()
        await told.until(1)

    assert begun == [ann]


async def test_the_hooks_of_two_streams_do_not_wait_for_each_other(
    told: Told, ann: User, declare: Callable[..., Any]
) -> None:
    both = threading.Barrier(2)

    def on_join(self: Any, user: Any) -> None:
        both.wait(PATIENCE)
        welcome(self, user)

    stream = declare("Meeting", Room, presence=True, on_join=on_join)
    rooms = [stream((await Room.objects.acreate(name=name)).pk) for name in "ab"]
    members = [member_of(room.stream_name, str(ann.pk)) for room in rooms]
    noted = [
        Lease(room.stream_id, member, 3_600.0)
        for room, member in zip(rooms, members, strict=True)
    ]
    await get_replay().leases.hold("another", noted)  # so they are taken together
    async with Socket(ann) as socket:
        await socket.subscribe(rooms[0].sign(ann))
        await told.until(2)

    assert sorted(told.names) == sorted(room.stream_name for room in rooms)


async def test_what_waits_for_a_slow_hook_may_be_told_by_another_process(
    faulty: Faulty, told: Told, ann: User, bob: User, declare: Callable[..., Any]
) -> None:
    """Then it is not told here as well."""
    faulty.times, faulty.now = Times(tell_again=30_000), 1.0
    begun: list[Any] = []
    done = threading.Event()

    stream = declare("Queueing", Room, presence=True, on_join=slow(begun, done))
    room = stream((await Room.objects.acreate(name="Lobby")).pk)
    async with Socket(ann) as first, Socket(bob) as second:
        await first.subscribe(room.sign(ann))
        await asyncio.to_thread(wait_until, lambda: begun)
        await second.subscribe(room.sign(bob))
        keeper = _keepers.get()
        await asyncio.to_thread(wait_until, lambda: len(keeper._taken) == 2)
        faulty.now = 1.02
        await asyncio.to_thread(until_extended, faulty, faulty.extended + 2)
        faulty.now = 1.04
        [change] = (await faulty.look({})).changes
        await faulty.settle([change])
        assert change.member == member_of(room.stream_name, str(bob.pk))
        done.set()
        await told.until(1)
        await asyncio.to_thread(wait_until, lambda: not keeper._taken)

    assert begun == [ann]


async def test_who_has_left_before_the_hooks_begin_has_not_joined(
    faulty: Faulty, ann: User, bob: User, declare: Callable[..., Any]
) -> None:
    """Another process has told the joining, while it waited here for a slow hook."""
    faulty.times, faulty.now = Times(tell_again=30_000), 1.0
    begun: list[Any] = []
    left: list[Any] = []
    done = threading.Event()

    stream = declare(
        "Stale",
        Room,
        presence=True,
        on_join=slow(begun, done),
        on_leave=lambda self, user: left.append(user),
    )
    room = stream((await Room.objects.acreate(name="Lobby")).pk)
    key = (room.stream_id, member_of(room.stream_name, str(bob.pk)))
    async with Socket(ann) as first:
        await first.subscribe(room.sign(ann))
        await asyncio.to_thread(wait_until, lambda: begun)
        keeper = _keepers.get()
        async with Socket(bob) as second:
            await second.subscribe(room.sign(bob))
            await asyncio.to_thread(wait_until, lambda: key in keeper._taken)
            faulty.now = 1.02
            await asyncio.to_thread(until_extended, faulty, faulty.extended + 2)
            faulty.now = 1.04
            changes = (await faulty.look({})).changes
            await faulty.settle([change for change in changes if change[:2] == key])
        await asyncio.to_thread(wait_until, lambda: key not in keeper._present)
        faulty.now += 0.25
        waiting = keeper._taken[key]
        await asyncio.to_thread(wait_until, lambda: not waiting.change.has_joined)
        done.set()
        await asyncio.to_thread(wait_until, lambda: left)

    assert begun == [ann]
    assert left == [bob]


async def test_a_hook_that_does_not_return_is_given_up(
    faulty: Faulty,
    told: Told,
    ann: User,
    declare: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another process may tell it then."""
    faulty.times, faulty.now = Times(tell_again=30_000), 1.0
    begun: list[Any] = []
    done = threading.Event()

    def on_join(self: Any, user: Any) -> None:
        begun.append(user)
        done.wait(PATIENCE)

    stream = declare("Hanging", Room, presence=True, on_join=on_join)
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(ann) as socket:
        await socket.subscribe(stream(room.pk).sign(ann))
        await asyncio.to_thread(wait_until, lambda: begun)
        await asyncio.to_thread(until_extended, faulty, 1)
        keeper = _keepers.get()
        monkeypatch.setattr(presence, "LIMIT", 0.0)
        await asyncio.to_thread(wait_until, lambda: not keeper._taken)
        faulty.now += 0.04
        [change] = (await faulty.look({})).changes
        await faulty.settle([change])
        done.set()

    assert "Hanging.on_join() took too long" in caplog.text
    assert begun == [ann]


async def test_what_ended_in_a_strange_way_is_told_again(
    faulty: Faulty, told: Told, ann: User, declare: Callable[..., Any]
) -> None:
    """Nothing is held for ever."""
    faulty.times = Times(tell_again=100_000)
    begun: list[Any] = []

    class Strange(BaseException):
        pass

    def on_join(self: Any, user: Any) -> None:
        begun.append(user)
        if len(begun) == 1:
            raise Strange
        welcome(self, user)

    stream = declare("Odd", Room, presence=True, on_join=on_join)
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(ann) as socket:
        await socket.subscribe(stream(room.pk).sign(ann))
        await told.until(1)

    assert begun == [ann, ann]


async def test_who_leaves_while_a_lease_is_noted_has_left(
    faulty: Faulty, told: Told, ann: User
) -> None:
    faulty.slow = asyncio.Event()
    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))
        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(until_noted, faulty)
    faulty.slow.set()

    assert await told.until(2) == [joined(ann), left(ann)]


def until_extended(leases: Faulty, count: int) -> None:
    wait_until(lambda: leases.extended >= count)


def until_noted(leases: Faulty) -> None:
    wait_until(lambda: bool(leases._streams))


async def test_a_page_is_shown_although_nobody_knows_who_is_present(
    faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ROOM.apresent_users() == []
    assert await sync_to_async(ROOM.present_users)() == []

    assert "It could not be found out who is present." in caplog.text


@pytest.mark.parametrize(
    "ask", [Lounge.present_users, async_to_sync(Lounge.apresent_users)]
)
def test_only_the_first_page_waits_while_nobody_answers(
    faulty: Faulty, ask: Callable[[Lounge], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may accept a connection and say nothing; each question ends by itself."""
    ann = User.objects.create(username="ann")
    lease = Lease(ROOM.stream_id, member_of(ROOM.stream_name, str(ann.pk)), 3_600.0)
    async_to_sync(faulty.hold)("another", [lease])
    now, faulty.hangs, faulty.gives_up = 0.0, True, True
    monkeypatch.setattr(get_publisher().questions, "_clock", lambda: now)
    monkeypatch.setattr(questions, "PATIENCE", 60)

    # The first one gets as much time as a busy machine may need to ask.
    assert [ask(ROOM) for _ in range(100)] == [[]] * 100
    assert faulty.asked == 1
    now, faulty.gives_up = now + 60, False
    monkeypatch.setattr(questions, "PATIENCE", 0.05)
    assert [ask(ROOM) for _ in range(100)] == [[]] * 100
    wait_until(lambda: faulty.cancelled == 1)
    assert faulty.asked == 2

    now, faulty.hangs = now + 60, False
    monkeypatch.setattr(questions, "PATIENCE", 60)
    assert ask(ROOM) == []
    wait_until(lambda: ask(ROOM) == [ann])
    assert faulty.asked == 4


def test_keys_of_another_type_are_nobody() -> None:
    """The user model may have had other keys when they were noted."""
    assert users_of(["no number"]) == []


async def test_leases_of_a_stream_that_gave_presence_up_are_cleared(
    told: Told, ann: User
) -> None:
    """And so are those of a user with a key of another type."""
    stream, leases = Announcements(), get_replay().leases
    plain = Lease(stream.stream_id, member_of(stream.stream_name, "1"), 0.3)
    other = Lease(ROOM.stream_id, member_of(ROOM.stream_name, "no number"), 0.3)
    await leases.hold("another", [plain, other])

    async with Socket(ann) as socket:
        await socket.subscribe(ROOM.sign(ann))
        await told.until(1)
    task = _keepers.get()._task
    assert task is not None
    async with asyncio.timeout(PATIENCE):
        await task

    assert told.data == [joined(ann), left(ann)]


@pytest.mark.parametrize(
    ("error", "calls"), [(ValueError("wrong"), 2), (ConnectionError("away"), 3)]
)
async def test_what_could_not_be_told_is_told_again_after_an_outage(
    faulty: Faulty,
    told: Told,
    ann: User,
    declare: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    calls: int,
) -> None:
    """Any other failure would come again."""
    faulty.times = Times(tell_again=100_000)
    asked: list[Any] = []

    def exists(self: Any) -> bool:
        asked.append(self.pk)
        if len(asked) == 2:  # the subscription asks first
            raise error
        return True

    stream = declare("Broken", Room, presence=True, exists=exists, on_join=welcome)
    room = await Room.objects.acreate(name="Lobby")
    async with Socket(ann) as socket:
        await socket.subscribe(stream(room.pk).sign(ann))
        await asyncio.to_thread(wait_until, lambda: len(asked) == calls)
        if calls == 3:
            await told.until(1)

    assert "It could not be told who has joined or left." in caplog.text


def welcome(stream: Any, user: Any) -> None:
    stream.append(text=user.username, id="people")
