"""Subscriptions end when the server says so, and do not come back by themselves."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from time import monotonic, time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import (
    aget_user,
    aupdate_session_auth_hash,
    get_user_model,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.http import HttpRequest
from django.test import AsyncClient, override_settings

import turbo
from tests.support.clients import Socket, signed_now
from tests.support.servers import PATIENCE
from tests.testapp.models import CompositeItem, Room
from tests.testapp.streams import Announcements, Endless
from turbo.conf import get_settings
from turbo.connections.revocation import Revocation, recheck, revoke_session
from turbo.connections.users import session_hash
from turbo.connections.visitor import Visitor
from turbo.delivery.hub import get_hub
from turbo.delivery.names import sign
from turbo.delivery.recorders import recording
from turbo.replay import Append, Appended, get_replay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def ann() -> User:
    user: User = await get_user_model().objects.acreate(username="ann")
    return user


@pytest.fixture
async def cellar(ann: User) -> Room:
    room = await Room.objects.acreate(name="Cellar", public=False)
    await room.members.aadd(ann)
    return room


@pytest.fixture
async def socket(ann: User, cellar: Room) -> AsyncIterator[Socket]:
    """Ann's socket, subscribed to the cellar and the announcements."""
    async with Socket(ann) as socket:
        answers = await socket.subscribe(
            cellar.stream.sign(ann), Announcements().sign(ann)
        )
        assert [answer["type"] for answer in answers] == ["subscribed"] * 2
        yield socket


async def denied(socket: Socket, count: int = 1) -> list[tuple[str, str]]:
    frames = [await socket.receive() for _ in range(count)]
    return [(frame["type"], frame["reason"]) for frame in frames]


async def test_a_revoked_stream_is_denied_and_silent(
    socket: Socket, ann: User, cellar: Room
) -> None:
    turbo.revoke(user=ann, stream=cellar)
    assert await denied(socket) == [("denied", "revoked")]

    cellar.stream.append(text="x", id="y")
    Announcements().append(text="z", id="y")

    assert "z" in (await socket.messages())[0]
    assert await socket.nothing()


async def test_a_revoked_user_loses_everything(socket: Socket, ann: User) -> None:
    turbo.revoke(user=ann)

    assert await denied(socket, 2) == [("denied", "revoked")] * 2


async def test_a_revoked_stream_is_lost_by_everybody(
    socket: Socket, cellar: Room
) -> None:
    turbo.revoke(stream="testapp:Announcements")

    assert await denied(socket) == [("denied", "revoked")]
    async with Socket() as other:
        assert await other.subscribe() == []


async def test_another_users_revocation_changes_nothing(
    socket: Socket, cellar: Room
) -> None:
    bob = await User.objects.acreate(username="bob")

    turbo.revoke(user=bob)
    cellar.stream.append(text="x", id="y")

    assert "x" in (await socket.messages())[0]


async def test_an_old_name_is_refused_and_a_new_one_admits(
    ann: User, cellar: Room
) -> None:
    old = cellar.stream.sign(ann)
    turbo.revoke(user=ann, stream=cellar)
    await sync_to_async(turbo.flush)()

    async with Socket(ann) as socket:
        (answer,) = await socket.subscribe(old, since="?")
        assert (answer["type"], answer["reason"]) == ("denied", "revoked")


async def test_a_lost_permission_ends_the_subscription_at_the_next_check(
    socket: Socket, ann: User, cellar: Room
) -> None:
    await cellar.members.aremove(ann)

    recheck(ann)

    assert await denied(socket) == [("denied", "revoked")]


async def test_the_periodic_check_needs_no_order(ann: User, cellar: Room) -> None:
    with override_settings(TURBO={"RECHECK_INTERVAL": 0.1}):
        async with Socket(ann) as socket:
            await socket.subscribe(cellar.stream.sign(ann))
            await cellar.members.aremove(ann)
            assert await denied(socket) == [("denied", "revoked")]


async def test_a_revocation_whose_order_was_lost_is_found_in_the_log(
    socket: Socket, ann: User, cellar: Room
) -> None:
    await revoke_silently(ann)

    tell_of_lost_orders()

    assert await denied(socket) == [("denied", "revoked")]
    assert await socket.nothing()  # the cellar is as it was


async def test_a_log_that_cannot_be_read_is_read_at_the_next_check(
    socket: Socket, ann: User, cellar: Room
) -> None:
    await revoke_silently(ann)
    await cellar.members.aremove(ann)
    with patch.object(get_replay(), "forbidden", side_effect=OSError("no log")):
        tell_of_lost_orders()
        assert await denied(socket) == [("denied", "revoked")]  # its test says so
        assert await socket.nothing()

    recheck(ann)

    assert await denied(socket) == [("denied", "revoked")]


async def test_orders_that_are_lost_while_the_log_is_read_let_it_be_read_again(
    socket: Socket, ann: User
) -> None:
    real, reading, read_on = get_replay().forbidden, asyncio.Event(), asyncio.Event()

    async def slowly(keys: Sequence[str]) -> list[int | None]:
        noted = await real(keys)
        reading.set()
        await read_on.wait()
        return noted

    with patch.object(get_replay(), "forbidden", slowly):
        tell_of_lost_orders()
        await reading.wait()
        await revoke_silently(ann)
        tell_of_lost_orders()
        read_on.set()

        assert await denied(socket) == [("denied", "revoked")]


async def test_a_revocation_is_noted_before_anybody_is_told(
    socket: Socket, ann: User
) -> None:
    """A page that was told could get in again with its old name otherwise."""
    log, done = get_replay(), []
    note, append, is_handed_over = log.forbid, log.append, threading.Event()

    async def note_slowly(keys: Sequence[str], *, seconds: int) -> None:
        while not is_handed_over.is_set():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0)
        for _ in range(20):  # whatever else is ready has its turn
            await asyncio.sleep(0)
        await note(keys, seconds=seconds)
        done.append("noted")

    async def append_and_say(appends: Sequence[Append]) -> list[Appended]:
        done.append("told")
        return await append(appends)

    with (
        patch.object(log, "forbid", note_slowly),
        patch.object(log, "append", append_and_say),
    ):
        turbo.revoke(ann, "testapp:Announcements")
        is_handed_over.set()
        await denied(socket)

    assert done == ["noted", "told"]


async def test_a_revocation_that_cannot_be_noted_is_told(
    socket: Socket, ann: User, caplog: pytest.LogCaptureFixture
) -> None:
    """And nobody who flushes waits for it."""
    with patch.object(get_replay(), "forbid", side_effect=ValueError("no such key")):
        turbo.revoke(ann, "testapp:Announcements")

        assert await denied(socket) == [("denied", "revoked")]
    assert await sync_to_async(turbo.flush)()
    assert "A revocation could not be stored" in caplog.text


async def test_a_clock_that_is_ahead_does_not_readmit(ann: User) -> None:
    """Names of a machine that is a minute ahead are valid a minute longer."""
    later = get_settings().signed_name_max_age + 30
    with patch.object(signing, "time", SimpleNamespace(time=lambda: time() + 60)):
        signed = await signed_now(Announcements(), ann)
    await revoke_silently(ann)

    with (
        patch.object(signing, "time", SimpleNamespace(time=lambda: time() + later)),
        patch.object(get_replay()._forbidden, "_clock", lambda: monotonic() + later),
    ):
        async with Socket(ann) as socket:
            [answer] = await socket.subscribe(signed)

    assert (answer["type"], answer["reason"]) == ("denied", "revoked")


async def test_a_log_whose_clock_was_changed_does_not_readmit(ann: User) -> None:
    """By another clock the name may look younger than the revocation."""
    signed = sign("testapp:Announcements", user=ann, since=f"@{10**15}.1f0c")
    await revoke_silently(ann)

    async with Socket(ann) as socket:
        [answer] = await socket.subscribe(signed)

    assert (answer["type"], answer["reason"]) == ("denied", "expired")


async def revoke_silently(user: User) -> None:
    """Revoke the announcements; the revocation is noted, and its message is lost."""
    with patch.object(Revocation, "send"):
        await sync_to_async(turbo.revoke)(user, "testapp:Announcements")
    await sync_to_async(turbo.flush)()


def tell_of_lost_orders() -> None:
    """Do what the hub does when the control stream has a gap that cannot be filled."""
    for connection in list(get_hub()._connections):
        connection.apply_revocation(None)


async def test_a_deactivated_user_is_asked_again_at_once(
    socket: Socket, ann: User
) -> None:
    ann.is_active = False
    await ann.asave()

    assert await denied(socket, 2) == [("denied", "revoked")] * 2


async def test_a_deleted_user_loses_everything(socket: Socket, ann: User) -> None:
    await (await User.objects.aget(pk=ann.pk)).adelete()

    assert await denied(socket, 2) == [("denied", "revoked")] * 2


async def test_who_is_deactivated_during_a_subscription_loses_everything(
    ann: User,
) -> None:
    """Also what everybody may see: that page was rendered for somebody."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def user_passes_test(self: Endless, user: User) -> bool:
        asked.set()
        await answered.wait()
        return True

    async with Socket(ann) as socket:
        await socket.subscribe(Announcements().sign(ann))
        with patch.object(Endless, "user_passes_test", user_passes_test):
            wanted = [{"name": Endless().sign(ann), "since": ""}]
            await socket.send(type="subscribe", streams=wanted)
            await asked.wait()
            await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
            tell_of_lost_orders()
            answered.set()

            assert await denied(socket, 2) == [
                ("denied", "revoked"),
                ("denied", "foreign"),
            ]
        Announcements().append(text="x", id="y")
        assert await socket.nothing()


async def test_logging_in_elsewhere_changes_nothing(socket: Socket, ann: User) -> None:
    await AsyncClient().aforce_login(ann)

    assert await socket.nothing()


async def logged_in(user: User) -> tuple[AsyncClient, SessionStore]:
    client = AsyncClient()
    await client.aforce_login(user)
    return client, SessionStore(client.cookies["sessionid"].value)


async def test_logging_out_ends_the_subscriptions_of_that_session(
    ann: User, cellar: Room
) -> None:
    client, session = await logged_in(ann)
    _, elsewhere = await logged_in(ann)
    signed = cellar.stream.sign(ann)
    async with (
        Socket(ann, session=session) as ours,
        Socket(ann, session=elsewhere) as other,
    ):
        await ours.subscribe(signed)
        await other.subscribe(signed)

        await client.get("/logout/")

        assert await denied(ours) == [("denied", "revoked")]
        assert await other.nothing()


async def test_an_order_right_after_the_first_subscription_is_heard(
    ann: User, cellar: Room
) -> None:
    """Of the first page that this process serves: nobody listened before."""
    signed = cellar.stream.sign(ann)
    for _ in range(20):
        client, session = await logged_in(ann)
        async with Socket(ann, session=session) as socket:
            await socket.subscribe(signed)
            await client.get("/logout/")

            assert await denied(socket) == [("denied", "revoked")]


class SlowBackend(ModelBackend):
    """Finds users, and tells of them when it may."""

    asked, answered = threading.Event(), threading.Event()

    def get_user(self, user_id: Any) -> Any:
        user = super().get_user(user_id)
        self.asked.set()
        self.answered.wait(PATIENCE)
        return user


@override_settings(
    AUTHENTICATION_BACKENDS=["tests.connections.test_revocation.SlowBackend"]
)
async def test_a_log_out_holds_against_a_user_who_is_being_looked_up(
    ann: User, cellar: Room
) -> None:
    SlowBackend.answered.set()
    _, session = await logged_in(ann)
    signed = cellar.stream.sign(ann)
    async with Socket(ann, session=session) as socket:
        await socket.subscribe(signed)
        SlowBackend.asked.clear()
        SlowBackend.answered.clear()
        try:
            recheck(ann)
            await asyncio.to_thread(SlowBackend.asked.wait, PATIENCE)
            revoke_session(session.session_key)
            assert await denied(socket) == [("denied", "revoked")]
        finally:
            SlowBackend.answered.set()

        assert (await socket.subscribe(signed))[0]["reason"] == "foreign"


async def test_nothing_is_replayed_of_after_a_revocation(ann: User) -> None:
    """It comes while a slow test of the same name is being asked."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def user_passes_test(self: Announcements, user: User) -> bool:
        asked.set()
        await answered.wait()
        return True

    signed = Announcements().sign(ann)
    async with Socket(ann) as socket:
        [before] = await socket.subscribe(signed)
        with patch.object(Announcements, "user_passes_test", user_passes_test):
            await socket.send(
                type="subscribe",
                streams=[{"name": signed, "since": before["position"]}],
            )
            await asked.wait()
            turbo.revoke(user=ann, stream=Announcements())
            assert await denied(socket) == [("denied", "revoked")]
            Announcements().append(text="secret", id="x")
            await asyncio.to_thread(turbo.flush, PATIENCE)
            answered.set()

            assert await denied(socket) == [("denied", "revoked")]
            assert await socket.nothing()


async def test_a_changed_password_ends_the_sessions_of_before(
    ann: User, cellar: Room
) -> None:
    _, session = await logged_in(ann)
    async with Socket(ann, session=session) as socket:
        await socket.subscribe(cellar.stream.sign(ann))

        ann.set_password("new")
        await ann.asave()

        assert await denied(socket) == [("denied", "revoked")]


async def test_a_changed_password_ends_the_pages_where_it_was_changed(
    ann: User, cellar: Room
) -> None:
    """Their browser has another session from then on."""
    _, session = await logged_in(ann)
    async with Socket(ann, session=session) as socket:
        await socket.subscribe(cellar.stream.sign(ann))
        request = HttpRequest()
        request.user, request.session = ann, type(session)(session.session_key)
        request.auser = partial(aget_user, request)  # type: ignore[assignment]
        assert await request.auser() == ann  # as a view has done by then

        ann.set_password("new")
        await ann.asave()
        await aupdate_session_auth_hash(request, ann)
        await request.session.asave()

        assert await denied(socket) == [("denied", "revoked")]


async def test_an_anonymous_visitor_is_asked_again_as_such(cellar: Room) -> None:
    cellar.public = True
    await cellar.asave()
    with override_settings(TURBO={"RECHECK_INTERVAL": 0.1}):
        async with Socket() as socket:
            await socket.subscribe(cellar.stream.signed_stream_name)
            cellar.public = False
            await cellar.asave()

            assert await denied(socket) == [("denied", "revoked")]


# --- What can be asked


def test_revoke_needs_somebody_or_something() -> None:
    with pytest.raises(TypeError, match="needs a user, a stream, or both"):
        turbo.revoke()
    with pytest.raises(ValueError, match="who can log in"):
        turbo.revoke(user=AnonymousUser())


def test_ending_no_session_and_rechecking_nobody_says_nothing() -> None:
    sent: list[Any] = []
    with recording(lambda name, data: sent.append(data)):
        revoke_session(None)
        recheck(AnonymousUser())

    assert sent == []


def test_an_order_concerns_whom_it_names() -> None:
    ann = Visitor({"user": User(pk=1), "session": SimpleNamespace(session_key="s")})
    nobody = Visitor({})

    assert Revocation().applies_to(nobody)
    assert Revocation(user="1").applies_to(ann)
    assert not Revocation(user="2").applies_to(ann)
    assert not Revocation(user="1").applies_to(nobody)
    assert Revocation(session=session_hash("s")).applies_to(ann)
    assert not Revocation(session=session_hash("t")).applies_to(ann)


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_lost_orders_let_everybody_be_asked_again(text: str | None) -> None:
    assert Revocation.parse(text) == Revocation(recheck=True)


def test_an_order_survives_the_wire() -> None:
    revocation = Revocation(user="1", stream="a:B")

    assert Revocation.parse(json.dumps({"user": "1", "stream": "a:B"})) == revocation


async def test_a_key_that_is_used_again_is_that_of_another_row(
    ann: User, declare: Callable[..., Any]
) -> None:
    """A stream without a test says at the delete that its pages are the old row's."""

    def on_delete(self: Any, item: CompositeItem, **kwargs: Any) -> None:
        turbo.revoke(stream=self)

    stream = declare("SeatStream", CompositeItem, on_delete=on_delete)
    item = await CompositeItem.objects.acreate(tenant=1, number=2, name="old")
    old = await signed_now(stream(item.pk), ann)
    async with Socket(ann) as socket:
        assert (await socket.subscribe(old))[0]["type"] == "subscribed"
        key = item.pk
        await item.adelete()
        assert await denied(socket) == [("denied", "revoked")]

        await CompositeItem.objects.acreate(tenant=1, number=2, name="new")
        stream(key).append(text="secret", id="x")
        assert await socket.nothing()
        assert (await socket.subscribe(old))[0]["reason"] == "revoked"
        new = await signed_now(stream(key), ann)
        assert (await socket.subscribe(new))[0]["type"] == "subscribed"


async def test_a_row_that_is_gone_ends_a_stream_without_a_test(
    ann: User, declare: Callable[..., Any]
) -> None:
    """Or its pages would hear of the next row with that key."""
    stream = declare("ChairStream", CompositeItem)
    item = await CompositeItem.objects.acreate(tenant=1, number=2, name="old")
    key = item.pk
    async with Socket(ann) as socket:
        await socket.subscribe(stream(key).sign(ann))
        await item.adelete()
        get_hub()._pass_on("{}")

        assert await denied(socket) == [("denied", "revoked")]
        await CompositeItem.objects.acreate(tenant=1, number=2, name="new")
        stream(key).append(text="secret", id="x")
        assert await socket.nothing()


async def test_what_is_held_ends_though_a_test_takes_long(
    ann: User, cellar: Room
) -> None:
    """A revocation waits for what is being subscribed, and not for what is held."""
    async with Socket(ann) as socket:
        await socket.subscribe(cellar.stream.sign(ann))
        await socket.send(
            type="subscribe", streams=[{"name": Endless().sign(ann), "since": ""}]
        )

        turbo.revoke(user=ann, stream=cellar)

        assert await denied(socket) == [("denied", "revoked")]


async def test_a_session_that_was_logged_out_is_nobodys_at_once(
    ann: User, cellar: Room
) -> None:
    """The revocation comes while the session still stands in the database."""
    _, session = await logged_in(ann)
    async with Socket(session=session, user=ann) as socket:
        await socket.subscribe(cellar.stream.sign(ann))
        revoke_session(session.session_key)
        assert await denied(socket) == [("denied", "revoked")]

        (answer,) = await socket.subscribe(cellar.stream.sign(ann))

    assert answer["reason"] == "foreign"
