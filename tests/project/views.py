from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model, login, logout
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render

import turbo
from tests.testapp.models import Message, Room
from tests.testapp.streams import Cafe, Lounge


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


def counters(request: HttpRequest) -> JsonResponse:
    return JsonResponse(turbo.counters())


_held = threading.Event()


def hold(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Middleware that is not async; with ``?hold`` it waits until it is let go."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        get_user_model()._default_manager.exists()
        if "hold" in request.GET:
            _held.wait(60)
        return response

    return middleware


def let_go(request: HttpRequest) -> HttpResponse:
    _held.set()
    return HttpResponse("done")


def log_in(request: HttpRequest, username: str) -> HttpResponse:
    """Log the user in without a password and go on to ``?next=``."""
    user = get_user_model()._default_manager.get(username=username)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponseRedirect(request.GET.get("next", "/"))


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponseRedirect(request.GET.get("next", "/"))


async def room(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a room's latest messages as they were read, ``?wait=`` seconds later."""
    room = await Room.objects.aget(pk=pk)
    latest = room.messages.order_by("-pk")[:30]
    messages = [message async for message in latest][::-1]
    await asyncio.sleep(float(request.GET.get("wait", 0)))
    user = await request.auser()
    context = {"room": room, "messages": messages, "user": user}
    return await sync_to_async(render)(request, "testapp/room.html", context)


def text(request: HttpRequest) -> HttpResponse:
    """Show a growing text and a progress."""
    context = {"transport": request.GET.get("transport", "websocket")}
    return render(request, "testapp/text.html", context)


def lounge(request: HttpRequest, transport: str) -> HttpResponse:
    """Show who is there, and who is typing."""
    context = {"lounge": Lounge(1), "cafe": Cafe(1), "transport": transport}
    return render(request, "testapp/lounge.html", context)


async def say(request: HttpRequest, pk: int) -> HttpResponse:
    """Save a message, and answer with its key."""
    message = await Message.objects.acreate(room_id=pk, text=request.GET["text"])
    return HttpResponse(str(message.pk))


def act(request: HttpRequest, pk: int, how: str) -> HttpResponse:
    """Write to a room in one of the ways that an application does."""
    text = request.GET.get("text", "")
    WAYS[how](pk, text)
    return HttpResponse("done")


def _in_a_thread(pk: int, text: str) -> None:
    def work() -> None:
        try:
            Message.objects.create(room_id=pk, text=text)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _rolled_back(pk: int, text: str) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        Message.objects.create(room_id=pk, text=text)
        _ = 1 / 0


def _savepoint_rolled_back(pk: int, text: str) -> None:
    with transaction.atomic():
        _rolled_back(pk, text)


def _edit(pk: int, text: str) -> None:
    old, _, new = text.partition(",")
    message = Message.objects.get(room_id=pk, text=old)
    message.text = new
    message.save()


WAYS: dict[str, Callable[[int, str], object]] = {
    "view": lambda pk, text: Message.objects.create(room_id=pk, text=text),
    "thread": _in_a_thread,
    "rollback": _rolled_back,
    "savepoint": _savepoint_rolled_back,
    "edit": _edit,
    "delete": lambda pk, text: Message.objects.get(room_id=pk, text=text).delete(),
}
