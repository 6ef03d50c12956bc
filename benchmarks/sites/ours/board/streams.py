from __future__ import annotations

from typing import Any

import turbo
from board.fragment import FRAGMENT
from board.models import Room

CONTENT = {"html": FRAGMENT}


class RoomStream(turbo.ModelStream):
    class Meta:
        model = Room

    def user_passes_test(self, user: Any) -> bool:
        return bool(user.is_authenticated)

    def on_save(self, room: Room, created: bool, *args: Any, **kwargs: Any) -> None:
        room.stream.append(**CONTENT, id="messages")


if hasattr(turbo.Stream, "present_users"):  # an older checkout has no whispers

    class Typing(turbo.Stream):
        class Meta:
            whispers = ("typing",)
