"""Who gets which rendering is decided by the server, at each subscription and again."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.test import AsyncClient, override_settings

import turbo
from tests.support.clients import Socket
from tests.support.servers import PATIENCE
from tests.testapp.streams import Announcements, Forum
from turbo.connections.revocation import recheck
from turbo.connections.sse import _as_event
from turbo.delivery.audiences import pack_forms
from turbo.delivery.broadcast import send_stored
from turbo.delivery.hub import get_hub
from turbo.delivery.names import SALT, sign
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.replay.memory import MemoryReplay

pytestmark = pytest.mark.django_db(transaction=True)

POST = "testapp/post.html"


@pytest.fixture
def ann() -> User:
    return User.objects.create(username="ann", is_staff=True)


@pytest.fixture
def bob() -> User:
    return User.objects.create(username="bob")


def post(text: str) -> None:
    Forum(1).append(POST, {"text": text, "note": "Delete"}, id="posts")


def texts(data: list[str]) -> list[str]:
    """Return what stands in the elements."""
    return [each.partition("<p>")[2].partition("</p>")[0] for each in data]


async def demote(user: User) -> None:
    """Make a member of a moderator, without a check of what is open."""
    user.is_staff = False
    await User.objects.filter(pk=user.pk).aupdate(is_staff=False)


async def next_data(socket: Socket) -> str:
    """Return the next message; each check of an outdated page sends another gap."""
    while (frame := await socket.receive())["type"] == "gap":
        pass
    return str(frame["data"])


# --- Delivery


async def test_each_page_gets_the_rendering_of_its_audience(
    ann: User, bob: User
) -> None:
    async with Socket(ann) as moderator, Socket(bob) as member:
        await moderator.subscribe(Forum(1).sign(ann))
        await member.subscribe(Forum(1).sign(bob))
        post("Hi")
        Forum(1).only("moderator").append(text="<p>report", id="posts")
        Forum(1).append(text="all", id="posts")
        to_moderator, to_member = await moderator.messages(3), await member.messages(3)

    assert texts(to_moderator[:1]) == ["Hi Delete"]
    assert texts(to_member[:1]) == ["Hi"]
    assert "report" in to_moderator[1]
    assert to_member[1] == ""
    assert to_moderator[2] == to_member[2]


async def test_what_was_missed_is_replayed_for_the_audience(
    ann: User, bob: User
) -> None:
    since = get_replay().moment()
    names = [Forum(1).sign(user, since=since) for user in (ann, bob)]
    post("a")
    Forum(1).only("member").append(html="<p>b</p>", id="posts")
    await asyncio.to_thread(turbo.flush)
    async with Socket(ann) as moderator, Socket(bob) as member:
        [to_ann] = await moderator.subscribe(names[0], since=since)
        [to_bob] = await member.subscribe(names[1], since=since)
        missed = [await moderator.messages(2), await member.messages(2)]

    assert to_ann["recovered"]
    assert to_bob["recovered"]
    assert [texts(data) for data in missed] == [["a Delete", ""], ["a", "b"]]


async def test_the_audience_may_be_found_by_a_coroutine(
    declaring: None, ann: User, bob: User
) -> None:
    class Asked(Forum):
        class Meta(Forum.Meta):
            app_label = "tests"

        async def get_audience(self, user: Any) -> str:  # type: ignore[override]
            await asyncio.sleep(0)
            return super().get_audience(user)

    async with Socket(ann) as moderator, Socket(bob) as member:
        await moderator.subscribe(await sync_to_async(Asked(1).sign)(ann))
        await member.subscribe(await sync_to_async(Asked(1).sign)(bob))
        Asked(1).append(POST, {"text": "Hi", "note": "Delete"}, id="posts")
        found = [await moderator.messages(), await member.messages()]

    assert [texts(data) for data in found] == [["Hi Delete"], ["Hi"]]


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_permission_is_tested_as_well(
    is_async: bool, declaring: None, ann: User, bob: User
) -> None:
    """Also if only one of the two is a coroutine function."""

    class Sealed(Forum):
        class Meta(Forum.Meta):
            app_label = "tests"

        async def user_passes_test(self, user: Any) -> bool:  # type: ignore[override]
            return bool(user.is_staff)

    if not is_async:
        Sealed.user_passes_test = lambda self, user: user.is_staff  # type: ignore[method-assign]
    async with Socket(ann) as moderator, Socket(bob) as member:
        [allowed] = await moderator.subscribe(Sealed(1).sign(ann))
        [refused] = await member.subscribe(Sealed(1).sign(bob))

    assert allowed["type"] == "subscribed"
    assert (refused["type"], refused["reason"]) == ("denied", "forbidden")


# --- Another audience than the page's


async def test_a_page_for_another_audience_gets_a_gap_every_time(ann: User) -> None:
    signed = Forum(1).sign(ann)
    since = get_replay().moment()
    post("before")
    await asyncio.to_thread(turbo.flush)
    await demote(ann)
    for _ in range(2):
        async with Socket(ann) as socket:
            [answer] = await socket.subscribe(signed, since=since)
            post("after")
            data = await socket.messages()

        assert not answer["recovered"]
        assert texts(data) == ["after"]


class Late(MemoryReplay):
    """A memory log after whose next read something happens."""

    after: ClassVar[Any] = None

    async def read(self, requests: Any) -> Any:
        found = await super().read(requests)
        if (after := Late.after) is not None:
            Late.after = None
            await after()
        return found


@override_settings(TURBO={"REPLAY_BACKEND": f"{__name__}.Late"})
async def test_what_comes_meanwhile_is_before_the_gap(ann: User, bob: User) -> None:
    """Or the page would miss a number, and ask for it."""
    signed = Forum(1).sign(ann)
    await demote(ann)
    async with Socket(bob) as other, Socket(ann) as socket:
        await other.subscribe(Forum(1).sign(bob))

        async def meanwhile() -> None:
            post("meanwhile")
            await other.messages()

        Late.after = meanwhile
        [answer] = await socket.subscribe(signed)
        post("next")
        message = await socket.receive()

    assert not answer["recovered"]
    numbers = [frame["position"].split(":")[1] for frame in (answer, message)]
    assert numbers == ["1", "2"]


async def test_so_does_one_that_says_where_it_was(ann: User) -> None:
    """A position must not bring back what the former audience got."""
    async with Socket(ann) as socket:
        signed = Forum(1).sign(ann)
        [before] = await socket.subscribe(signed)
        post("seen")
        await socket.messages()
    await demote(ann)

    async with Socket(ann) as socket:
        [answer] = await socket.subscribe(signed, since=before["position"])
        assert await socket.nothing()

    assert not answer["recovered"]


async def test_an_old_and_a_new_name_on_one_page(ann: User) -> None:
    """Only the element with the new name is up to date."""
    since = get_replay().moment()
    old = Forum(1).sign(ann, since=since)
    await demote(ann)
    new = Forum(1).sign(ann, since=since)
    post("Hi")
    await asyncio.to_thread(turbo.flush)

    async with Socket(ann) as socket:
        await socket.send(
            type="subscribe", streams=[{"name": n, "since": since} for n in (old, new)]
        )
        frames = [await socket.receive() for _ in range(3)]

    answers = {f["name"]: f["recovered"] for f in frames if f["type"] == "subscribed"}
    assert answers == {old: False, new: True}
    assert texts([f["data"] for f in frames if f["type"] == "message"]) == ["Hi"]


async def test_a_recheck_changes_the_audience_and_says_so(ann: User) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(Forum(1).sign(ann), Announcements().sign(ann))
        await demote(ann)
        recheck(ann)
        first = await socket.receive()
        recheck(ann)  # the page has not loaded itself anew
        again = await socket.receive()
        post("Hi")

        assert first == {"type": "gap", "stream": Forum(1).stream_id, "position": ""}
        assert again == first

        assert texts([await next_data(socket)]) == ["Hi"]


async def test_a_recheck_gives_back_the_audience(ann: User) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(Forum(1).sign(ann))
        await demote(ann)
        recheck(ann)
        assert (await socket.receive())["type"] == "gap"
        ann.is_staff = True
        await ann.asave()
        data = ""
        async with asyncio.timeout(PATIENCE):
            while texts([data]) != ["Hi Delete"]:  # until it has been checked
                post("Hi")
                data = await next_data(socket)
        assert await socket.nothing()


async def test_an_audience_of_before_a_revocation_is_not_used(ann: User) -> None:
    """Not even while a page that shows the stream already is asked about again."""
    audience, read = "member", get_replay().read
    revoked, again, answered = (asyncio.Event() for _ in range(3))

    async def get_audience(self: Forum, user: User) -> str:
        if revoked.is_set():
            again.set()
            await answered.wait()
        return audience

    async def read_late(places: Any) -> Any:
        nonlocal audience
        found = await read(places)
        audience = "member"
        revoked.set()
        for connection in list(get_hub()._connections):
            connection.apply_revocation(None)
        return found

    names = Forum(1).sign(ann), Forum(1).sign()
    async with Socket(ann) as socket:
        with patch.object(Forum, "get_audience", get_audience):
            await socket.subscribe(names[0])
            audience = "moderator"
            with patch.object(get_replay(), "read", read_late):
                wanted = [{"name": names[1], "since": ""}]
                await socket.send(type="subscribe", streams=wanted)
                async with asyncio.timeout(PATIENCE):
                    await again.wait()
            Forum(1).only("moderator").append(html="<p>Secret</p>", id="posts")
            await asyncio.to_thread(turbo.flush, PATIENCE)
            answered.set()

            assert await next_data(socket) == ""


async def test_who_has_left_meanwhile_has_no_audience(ann: User) -> None:
    stranger: Any = object()
    async with Socket(ann) as socket:
        await socket.subscribe(Forum(1).sign(ann))
        hub, sid = get_hub(), Forum(1).stream_id

        assert not hub.change_audience(stranger, sid, "member")
        assert not hub.change_audience(stranger, "unknown", "member")


async def test_a_page_of_a_class_that_had_no_audiences_gets_a_gap(ann: User) -> None:
    """The class has been deployed meanwhile."""
    signed = sign(Forum(1).stream_name, user=ann, since=get_replay().moment())

    async with Socket(ann) as socket:
        [answer] = await socket.subscribe(signed)

    assert not answer["recovered"]


# --- Nobody's audience


class Doubtful(Forum):
    class Meta(Forum.Meta):
        app_label = "tests"
        abstract = True

    answer: ClassVar[Any] = "member"

    def get_audience(self, user: Any) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


@pytest.fixture
def doubtful(declaring: None) -> type[Doubtful]:
    class Tested(Doubtful):
        class Meta(Doubtful.Meta):
            pass

    Tested.answer = "member"
    return Tested


@pytest.mark.parametrize("answer", [ZeroDivisionError(), "guest", "", None, 3])
@pytest.mark.parametrize("is_async", [False, True])
async def test_who_is_in_no_audience_is_refused(
    answer: Any,
    is_async: bool,
    doubtful: type[Doubtful],
    bob: User,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signed = doubtful(1).sign(bob)
    doubtful.answer = answer

    async def get_audience(self: Any, user: Any) -> str:
        return Doubtful.get_audience(self, user)

    if is_async:
        doubtful.get_audience = get_audience  # type: ignore[assignment]
    async with Socket(bob) as socket:
        for _ in range(3):
            [refused] = await socket.subscribe(signed)
            assert (refused["type"], refused["reason"]) == ("denied", "forbidden")

    assert caplog.text.count("get_audience() failed") == 1


async def test_who_leaves_all_audiences_loses_the_subscription(
    doubtful: type[Doubtful], bob: User
) -> None:
    async with Socket(bob) as socket:
        await socket.subscribe(doubtful(1).sign(bob))
        doubtful.answer = "guest"
        recheck(bob)
        frame = await socket.receive()

    assert (frame["type"], frame["reason"]) == ("denied", "revoked")
    assert not get_hub().subscribers().get(doubtful(1).stream_id)


# --- Clients that want more


async def test_a_forged_audience_is_refused(bob: User) -> None:
    name, user, since, audience = signing.loads(Forum(1).sign(bob), salt=SALT)
    assert audience == "member"
    forged = [
        signing.dumps([name, user, since, "moderator"], salt=SALT, key="guessed"),
        signing.dumps([name, user, since, "moderator"], salt="another"),
    ]
    async with Socket(bob) as socket:
        answers = await socket.subscribe(*forged)

    assert [answer["reason"] for answer in answers] == ["forged"] * 2


async def test_the_name_of_a_moderator_is_not_for_a_member(
    ann: User, bob: User
) -> None:
    async with Socket(bob) as socket:
        [bound] = await socket.subscribe(Forum(1).sign(ann))
        # A name that is bound to nobody says nothing about who shows it.
        loose = sign(
            Forum(1).stream_name, since=get_replay().moment(), audience="moderator"
        )
        [unbound] = await socket.subscribe(loose)
        post("Hi")
        data = await socket.messages()

    assert bound["reason"] == "foreign"
    assert not unbound["recovered"]
    assert texts(data) == ["Hi"]


async def test_a_client_cannot_say_its_audience(bob: User) -> None:
    signed = Forum(1).sign(bob)
    async with Socket(bob) as socket:
        wanted = {"name": signed, "since": "", "audience": "moderator"}
        await socket.send(type="subscribe", streams=[wanted], audience="moderator")
        await socket.receive()
        post("Hi")

        assert texts(await socket.messages()) == ["Hi"]


async def test_two_tabs_of_one_user_have_one_audience(ann: User) -> None:
    """The tab that was opened before the change sees no more than the other."""
    old = Forum(1).sign(ann)
    async with Socket(ann) as first:
        await first.subscribe(old)
        await demote(ann)
        recheck(ann)
        async with Socket(ann) as second:
            await second.subscribe(Forum(1).sign(ann))
            assert (await first.receive())["type"] == "gap"
            post("Hi")

            assert texts(await second.messages()) == ["Hi"]
            assert texts([await next_data(first)]) == ["Hi"]


async def test_a_revoked_moderator_does_not_come_back_with_the_old_name(
    ann: User,
) -> None:
    signed = Forum(1).sign(ann, since=get_replay().moment())
    async with Socket(ann) as socket:
        await socket.subscribe(signed)
        await sync_to_async(turbo.revoke)(ann, Forum(1))
        ended = await socket.receive()
        [again] = await socket.subscribe(signed)

    assert [ended["reason"], again["reason"]] == ["revoked", "revoked"]


# --- Event streams


async def test_an_event_stream_has_the_audience_of_its_visitor(
    ann: User, bob: User
) -> None:
    """The address of another's stream is of no use."""
    client = AsyncClient()
    await sync_to_async(client.force_login)(bob)

    answer: Any = await client.get(
        "/turbo/sse/", {"stream": Forum(1).sign(ann), "since": ""}
    )

    assert (answer.status_code, answer.content) == (403, b"foreign")


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (
            {"type": "message", "position": "k3:8", "data": ""},
            "id: k3:8\ndata: \n\n",
        ),
        (
            {"type": "gap", "position": ""},
            'data: <turbo-stream action="refresh"></turbo-stream>\n\n',
        ),
    ],
)
def test_what_an_event_stream_makes_of_frames(
    frame: dict[str, str], event: str
) -> None:
    """Browsers tell nobody of an empty event, but they remember its id."""
    assert _as_event(json.dumps(frame)) == event


# --- Further


async def test_an_anonymous_visitor_is_asked_about_as_well() -> None:
    async with Socket(AnonymousUser()) as socket:
        [answer] = await socket.subscribe(Forum(1).signed_stream_name)
        post("Hi")

        assert answer["recovered"]
        assert texts(await socket.messages()) == ["Hi"]


async def test_a_stored_message_for_audiences_is_sent_as_it_was() -> None:
    """The outbox keeps its data as a string."""
    data = json.loads(json.dumps(pack_forms({"member": "m", "moderator": "x"})))
    async with Socket() as socket:
        await socket.subscribe(Forum(1).signed_stream_name)
        send_stored(Forum(1).stream_name, Append(Forum(1).stream_id, data), None)

        assert await socket.messages() == ["m"]
