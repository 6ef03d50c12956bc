from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

import turbo
from turbo.http import respond, turbo_form

from . import bot, imports
from .forms import (
    AnnouncementForm,
    ImportForm,
    MemberForm,
    MessageForm,
    NewMessageForm,
    RoomForm,
)
from .models import Message, Room

PAGE = 50


def rooms(request):
    return render(request, "chat/rooms.html", {"form": RoomForm()})


@turbo_form
@transaction.atomic
def new_room(request):
    form = RoomForm(request.POST or None)
    if form.is_valid():
        room = form.save()
        room.members.add(request.user)
        return redirect(room)
    return render(request, "chat/new_room.html", {"form": form})


def room(request, pk):
    """Show the messages of a room, or a notice if the user may not read them."""
    room = get_object_or_404(Room, pk=pk)
    context = {"room": room, "form": MessageForm()}
    if room.is_open_to(request.user):
        context |= {"is_open": True, **page_of_messages(request, room)}
    return render(request, "chat/room.html", context)


def older_messages(request, pk, before):
    """Show a turbo-frame with the messages before one, and a frame for older ones."""
    room = get_object_or_404(Room, pk=pk)
    if not room.is_open_to(request.user):
        raise PermissionDenied
    messages = page_of_messages(request, room, before)
    context = {"room": room, "before": before, **messages}
    return render(request, "chat/older_messages.html", context)


def page_of_messages(request, room, before=None):
    """Return the last messages of a room, or the last ones before one of them."""
    audience = room.stream.get_audience(request.user)
    messages = room.messages.select_related("author").order_by("-pk")
    if before:
        messages = messages.filter(pk__lt=before)
    messages = list(messages[:PAGE])[::-1]
    has_older = len(messages) == PAGE
    return {"audience": audience, "messages": messages, "has_older": has_older}


@require_POST
def new_message(request, pk):
    room = get_object_or_404(Room, pk=pk)
    if not room.is_open_to(request.user):
        raise PermissionDenied
    form = NewMessageForm(request.POST)
    if form.is_valid():  # MessageStream shows the message to everybody in the room
        message, created = Message.objects.send(request.user, room, **form.cleaned_data)
        if created and bot.is_asked(message):
            bot.answer(message)
    errors = turbo.render_frame(request, "chat/message_errors.html", {"form": form})
    return respond(
        request,
        [errors.replace(id="message-errors")],
        otherwise=redirect(room),
        status=200 if form.is_valid() else 422,
    )


def message(request, pk):
    """Show a message in its turbo-frame; otherwise redirect to it in its room."""
    message = get_object_or_404(Message, pk=pk)
    if not message.room.is_open_to(request.user):
        raise PermissionDenied
    if not request.turbo.frame:
        return redirect(f"{message.room.get_absolute_url()}#message-{message.pk}")
    audience = message.room.stream.get_audience(request.user)
    context = {"message": message, "audience": audience}
    return render(request, "chat/message.html", context)


@turbo_form
def edit_message(request, pk):
    message = get_object_or_404(Message, pk=pk, author=request.user)
    form = MessageForm(request.POST or None, instance=message, auto_id=f"{pk}-%s")
    form.fields["text"].widget.attrs["autofocus"] = True
    if form.is_valid():
        message.edited = True
        form.save()
        return redirect(message)
    return render(request, "chat/edit_message.html", {"message": message, "form": form})


def delete_message(request, pk):
    message = get_object_or_404(Message, pk=pk, author=request.user)
    if request.method != "POST":
        return render(request, "chat/delete_message.html", {"message": message})
    message.delete()
    gone = turbo.remove_frame(id=f"message-{pk}")
    return respond(request, [gone], otherwise=redirect(message.room))


@require_POST
def moderate(request, pk):
    """Hide a message from the members of its room, or show it again."""
    message = get_object_or_404(Message, pk=pk)
    if not (request.user.is_staff and message.room.is_open_to(request.user)):
        raise PermissionDenied
    message.hidden = not message.hidden
    message.save(update_fields=["hidden"])
    return redirect(message)


@require_POST
def stop_answer(request, pk):
    """Ask the bot to stop; it saves what it has written."""
    message = get_object_or_404(Message, pk=pk)
    if not message.room.is_open_to(request.user):
        raise PermissionDenied
    Message.objects.filter(pk=pk).update(writing=False)
    return redirect(message)


@turbo_form
def import_messages(request, pk):
    """Import lines as messages of the user; only for the staff."""
    room = get_object_or_404(Room, pk=pk)
    if not (request.user.is_staff and room.is_open_to(request.user)):
        raise PermissionDenied
    form = ImportForm(request.POST or None)
    if form.is_valid():
        id = imports.start(room, request.user, form.cleaned_data["lines"])
        return redirect("importing", pk=pk, id=id)
    return render(request, "chat/import.html", {"room": room, "form": form})


def importing(request, pk, id):
    """Show how far an import has come."""
    room = get_object_or_404(Room, pk=pk)
    if not room.is_open_to(request.user):
        raise PermissionDenied
    return render(request, "chat/importing.html", {"room": room, "id": id})


@turbo_form
def members(request, pk):
    """Show the turbo-frame "members" of a room; staff can add and remove members."""
    room = get_object_or_404(Room, pk=pk)
    if not (request.user.is_staff or room.is_open_to(request.user)):
        raise PermissionDenied
    if request.method == "POST":
        change_members(request, room)
        return redirect("members", pk=room.pk)
    others = get_user_model().objects.exclude(pk__in=room.members.values("pk"))
    form = MemberForm(users=others)
    return render(request, "chat/members.html", {"room": room, "form": form})


def change_members(request, room):
    form = MemberForm(request.POST, users=get_user_model().objects.all())
    if not (request.user.is_staff and form.is_valid()):
        raise PermissionDenied
    user = form.cleaned_data["user"]
    if "remove" in request.POST:
        room.members.remove(user)
        turbo.revoke(user=user, stream=room.stream)
    else:
        room.members.add(user)


@turbo_form
def announce(request):
    if not request.user.is_staff:
        raise PermissionDenied
    form = AnnouncementForm(request.POST or None)
    if form.is_valid():
        form.save()  # and AnnouncementComponent shows it on every page
        return redirect("announce")
    return render(request, "chat/announce.html", {"form": form})
