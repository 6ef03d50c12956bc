"""A page that members and moderators see differently."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from tests.testapp.streams import Forum


async def show(request: HttpRequest) -> HttpResponse:
    """Show the forum as the audience of the user sees it; nothing is stored."""
    user = await request.auser()
    audience = Forum(1).get_audience(user)
    context = {"forum": Forum(1), "audience": audience}
    return render(request, "testapp/forum.html", context)


def say(request: HttpRequest) -> HttpResponse:
    """Broadcast a post, and a note for moderators."""
    text = request.GET["text"]
    Forum(1).append("testapp/post.html", {"text": text, "note": "Delete"}, id="posts")
    Forum(1).only("moderator").append(html=f"<p>report of {text}</p>", id="posts")
    return HttpResponse("done")


def appoint(request: HttpRequest, username: str, is_staff: int) -> HttpResponse:
    """Make a moderator of a user, or a member again."""
    user = get_user_model()._default_manager.get(username=username)
    user.is_staff = bool(is_staff)
    user.save()
    return HttpResponse("done")


urlpatterns = [
    path("", show),
    path("say/", say),
    path("appoint/<str:username>/<int:is_staff>/", appoint),
]
