from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model, login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from tests.testapp.models import Message, Room


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok", content_type="text/plain")


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


async def say(request: HttpRequest, pk: int) -> HttpResponse:
    """Save a message, and answer with its key."""
    message = await Message.objects.acreate(room_id=pk, text=request.GET["text"])
    return HttpResponse(str(message.pk))
