"""
The public names as a type checker sees them: a contract, checked and never run.

What fails here would fail in a user's project too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from django.contrib.auth.models import AbstractBaseUser
from django.db import models
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry

import turbo
from turbo.changes import ModelChange, Watch, watch
from turbo.components import BroadcastComponent, UserBroadcastComponent
from turbo.database import durable
from turbo.exceptions import TurboError
from turbo.streams.progress import StreamProgress
from turbo.streams.text import StreamText
from turbo.telemetry.prometheus import TurboCollector


class Room(models.Model):
    name = models.CharField(max_length=100)

    objects = turbo.ChangesQuerySet["Room"].as_manager()


class RoomStream(turbo.ModelStream):
    class Meta:
        model = Room

    def user_passes_test(self, user: AbstractBaseUser) -> bool:
        return self.instance is not None and user.is_active

    def on_save(
        self, room: Room, created: bool, *args: Any, update_fields: Any, **kwargs: Any
    ) -> None:
        self.append(text=room.name, id="rooms")

    def on_delete(self, room: Room, *args: Any, **kwargs: Any) -> None:
        self.remove(id=f"room-{room.pk}")


class Forum(turbo.Stream):
    class Meta:
        audiences = ("member", "moderator")

    def get_audience(self, user: AbstractBaseUser) -> str:
        return "member"


class AsyncForum(turbo.Stream):
    class Meta:
        audiences = ("member", "moderator")

    async def get_audience(self, user: AbstractBaseUser) -> str:
        return "member"


async def audiences(user: AbstractBaseUser) -> None:
    assert_type(Forum().get_audience(user), str)
    Forum().only("member").append("room.html", {"room": 1}, id="rooms")
    Forum().only("member", "moderator").stream_raw("<turbo-stream></turbo-stream>")
    await Forum().only("member").aremove(id="room-1")


class Numbered(turbo.Stream):
    def __init__(self, number: int) -> None:
        self.number = number

    def get_init_args(self) -> Sequence[Any]:
        return (self.number,)


class Notice(BroadcastComponent):
    template_name = "notice.html"

    def get_context(self) -> dict[str, Any]:
        return {"text": ""}


class Inbox(UserBroadcastComponent):
    template_name = "inbox.html"


def verbs(room: Room, request: HttpRequest) -> None:
    stream = RoomStream.from_instance(room)
    assert_type(stream, RoomStream)
    assert_type(RoomStream.from_pk(1), RoomStream)
    assert_type(stream.stream_name, str)
    assert_type(stream.signed_stream_name, str)

    stream.append("room.html", {"room": room}, id="rooms", request=request)
    stream.prepend(text="a", selector=".rooms")
    stream.replace(html="<p>a</p>", id="room-1", method="morph")
    stream.update(text="a", id="room-1", attributes={"data-a": "1"})
    stream.before(text="a", id="room-1")
    stream.after(text="a", id="room-1")
    stream.remove(id="room-1")
    stream.refresh()
    stream.action("highlight", id="room-1")
    stream.stream_raw("<turbo-stream></turbo-stream>")
    stream.stream(turbo.remove_frame(id="room-1").remove(id="room-1"))
    Numbered(1).append(text="a", id="numbers")


async def async_verbs(stream: RoomStream) -> None:
    await stream.aappend(text="a", id="rooms")
    await stream.aprepend(text="a", id="rooms")
    await stream.areplace(text="a", id="room-1")
    await stream.aupdate(text="a", id="room-1")
    await stream.abefore(text="a", id="room-1")
    await stream.aafter(text="a", id="room-1")
    await stream.aremove(id="room-1")
    await stream.arefresh()
    await stream.aaction("highlight", id="room-1")
    await stream.astream_raw("<turbo-stream></turbo-stream>")


def frames(request: HttpRequest, stream: RoomStream) -> HttpResponse:
    frame = turbo.render_frame(request, "room.html", {"room": None})
    assert_type(frame, turbo.TurboRender)
    assert_type(frame.append(id="rooms"), turbo.TurboRender)
    assert_type(frame.response, turbo.TurboResponse)
    frame.update(id="rooms").stream_to(stream)
    return turbo.TurboResponse(frame, turbo.render_frame_string("a").update(id="b"))


def components(user: AbstractBaseUser) -> None:
    Notice().render(text="Hello")
    Inbox(user).render({"count": 3})


@turbo.immediately()
def progress(stream: turbo.Stream) -> None:
    with turbo.immediately():
        stream.refresh()


@turbo.suppress()
def seed() -> None:
    with turbo.suppress():
        turbo.announce(Room.objects.all(), action="update")
        turbo.announce([Room(pk=1)], action="delete", using="default")


def told(change: ModelChange) -> None:
    assert_type(change.created, bool)
    assert_type(change.using, str)
    assert_type(change.update_fields, frozenset[str] | None)
    if change.action == "delete":
        print(change.model, change.instance, change.pk, change.mark, change.before)


def watching() -> None:
    heard = watch(Room, told, mark=lambda: "here", before=lambda stored: stored.pk)
    assert_type(heard, Watch)
    heard.stop()
    watch(Room, told, many=lambda using: print(f"{using} of many"))


def lasting(change: ModelChange) -> None:
    durable(Room)
    assert_type(change.retried, bool)


def growing(stream: RoomStream) -> None:
    with stream.text(id="answer") as answer:
        assert_type(answer, StreamText)
        answer.write("chunk")
        assert_type(answer.text, str)
        answer.finish(html="<p>chunk</p>")
    with stream.progress(id="job", total=9) as progress:
        assert_type(progress, StreamProgress)
        progress.advance(note="Rake")
        progress.set(4, total=12.5)


async def agrowing(stream: RoomStream) -> None:
    async with stream.text(id="answer") as answer:
        await answer.awrite("chunk")
        await answer.afinish()
    async with stream.progress(id="job") as progress:
        await progress.aadvance(2)


def looking_on() -> None:
    assert_type(turbo.counters(), dict[str, int])
    CollectorRegistry().register(TurboCollector())


class Lounge(turbo.Stream):
    class Meta:
        presence = True
        whispers = ("typing",)

    def on_join(self, user: AbstractBaseUser) -> None:
        self.append(text=str(user), id="people")

    async def on_leave(self, user: AbstractBaseUser) -> None:
        await self.aremove(id=f"user_{user.pk}")

    def on_whisper(self, name: str, data: Any, user: AbstractBaseUser) -> bool:
        return user.is_authenticated


async def presence(stream: Lounge) -> None:
    assert_type(stream.present_users(), Sequence[Any])
    assert_type(await stream.apresent_users(), Sequence[Any])


def control(user: AbstractBaseUser, stream: RoomStream) -> None:
    try:
        turbo.revoke(user=user)
        turbo.revoke(stream=stream)
        assert_type(turbo.flush(timeout=1.0), bool)
    except TurboError as error:
        assert_type(str(error), str)
