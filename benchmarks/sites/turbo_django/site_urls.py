from __future__ import annotations

import time

from board.fragment import FRAGMENT
from board.models import Room
from django.http import HttpRequest, HttpResponse
from django.urls import path


def publish(request: HttpRequest, count: int) -> HttpResponse:
    """Broadcast ``count`` messages; answer with the moment before the first."""
    room = Room(pk=1, name="Lobby")
    started = time.monotonic()
    for _ in range(count):
        room.stream.append(**CONTENT, id="messages")
    return HttpResponse(str(started))


def save(request: HttpRequest) -> HttpResponse:
    """Save the room, which broadcasts one message; answer with the commit's moment."""
    Room.objects.get(pk=1).save()
    return HttpResponse(str(time.monotonic()))


CONTENT = {"text": FRAGMENT}

urlpatterns = [
    path("publish/<int:count>", publish),
    path("save", save),
]
