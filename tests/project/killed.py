"""A process that saves a message in the Lobby, and is killed at a certain place."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def kill(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(way: str) -> None:
    import django

    django.setup()

    from django.db import transaction
    from django.db.models.signals import pre_save

    from tests.testapp.models import Message, Room

    room = Room.objects.get(name="Lobby")
    if way == "after the commit":
        with transaction.atomic():
            transaction.on_commit(kill)
            room.stream.update(text="verb", id="state")
            Message.objects.create(room=room, text="saved")
    elif way == "after the commit of a save":
        pre_save.connect(
            lambda **kwargs: transaction.on_commit(kill), sender=Message, weak=False
        )
        Message.objects.create(room=room, text="saved")
    elif way == "before the commit":
        with transaction.atomic():
            Message.objects.create(room=room, text="saved")
            kill()
    else:
        assert way == "before the append"
        with transaction.atomic():
            room.stream.update(text="verb", id="state")
            Message.objects.create(room=room, text="saved")
        kill()


if __name__ == "__main__":
    main(sys.argv[1])
