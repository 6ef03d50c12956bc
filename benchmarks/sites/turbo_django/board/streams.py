from __future__ import annotations

import turbo
from board.fragment import FRAGMENT
from board.models import Room

CONTENT = {"text": FRAGMENT}


class RoomStream(turbo.ModelStream):
    class Meta:
        model = Room

    def user_passes_test(self, user):
        return user.is_authenticated

    def on_save(self, room, created, *args, **kwargs):
        room.stream.append(**CONTENT, id="messages")
