from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from django.utils.html import format_html

from tests.testapp.models import (
    Board,
    Card,
    CompositeItem,
    Message,
    Pin,
    Room,
    UuidItem,
)
from turbo import ModelStream, Stream
from turbo.streams.html import dom_id


class RoomStream(ModelStream):
    class Meta:
        model = Room

    def user_passes_test(self, user: Any) -> bool:
        return self.instance.public or self.instance.members.filter(pk=user.pk).exists()


class MessageStream(ModelStream):
    class Meta:
        model = Message

    def on_save(
        self, message: Message, created: bool, *args: Any, **kwargs: Any
    ) -> None:
        context = {"message": message}
        if created:
            message.room.stream.append("testapp/message.html", context, id="messages")
        else:
            target = f"message-{message.pk}"
            message.room.stream.replace("testapp/message.html", context, id=target)

    def on_delete(self, message: Message, *args: Any, **kwargs: Any) -> None:
        message.room.stream.remove(id=f"message-{message.pk}")


class UuidItemStream(ModelStream):
    class Meta:
        model = UuidItem


class CompositeItemStream(ModelStream):
    class Meta:
        model = CompositeItem


class BoardStream(ModelStream):
    class Meta:
        model = Board
        refreshes = True


class CardStream(ModelStream):
    class Meta:
        model = Card
        broadcasts_to = "board"


class PinStream(ModelStream):
    class Meta:
        model = Pin
        broadcasts_to = "board"
        refreshes = True


class Announcements(Stream):
    pass


class Counter(Stream):
    def __init__(self, number: int, *, name: str = "") -> None:
        self.number = number
        self.name = name

    def get_init_args(self) -> list[Any]:
        return [self.number]

    def get_init_kwargs(self) -> dict[str, Any]:
        return {"name": self.name} if self.name else {}


class Gated(Counter):
    """
    A stream whose test takes, for eve, until a door is opened.

    The door is a file, which the environment names; beside it stands who has asked.
    """

    def user_passes_test(self, user: Any) -> bool:
        door = Path(os.environ["TURBO_TEST_DOOR"])
        with door.with_suffix(".asked").open("a") as asked:
            asked.write(f"{user.username} {self.number}\n")
        while user.username == "eve" and not door.exists():
            time.sleep(0.005)
        return True


class Endless(Stream):
    """A stream whose test never ends."""

    async def user_passes_test(self, user: Any) -> bool:
        await asyncio.Event().wait()
        return False


class Slow(Counter):
    """A stream whose test takes 20 ms."""

    def user_passes_test(self, user: Any) -> bool:
        time.sleep(0.02)
        return True


class Forum(Counter):
    """A stream whose moderators are the members of the staff."""

    class Meta:
        audiences = ("member", "moderator")

    def get_audience(self, user: Any) -> str:
        return "moderator" if user.is_staff else "member"


class Cafe(Counter):
    """A stream whose pages whisper; only ann tells secrets."""

    class Meta:
        whispers = ("typing", "secret", "broken")

    def on_whisper(self, name: str, data: Any, user: Any) -> bool:
        if name == "broken":
            raise ValueError("This is for a test.")
        return name != "secret" or user.username == "ann"


class Lounge(Counter):
    """A stream that knows who is there, and tells those whose pages show it."""

    class Meta:
        presence = True

    def user_passes_test(self, user: Any) -> bool:
        return bool(user.username != "eve")

    def on_join(self, user: Any) -> None:
        html = format_html('<li id="{}">{}</li>', dom_id(user), user.username)
        self.append(html=html, id="people")

    async def on_leave(self, user: Any) -> None:
        await self.aremove(id=dom_id(user))
