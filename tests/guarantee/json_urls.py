"""The project's pages, and one that runs what a test would run in a shell."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.project.urls import urlpatterns as project_urlpatterns


def run(request: HttpRequest) -> HttpResponse:
    """Run ``?code=``, with the users by their names; return what it calls ``said``."""
    names: dict[str, Any] = {user.username: user for user in User.objects.all()}
    exec(request.GET["code"], names)
    return HttpResponse(str(names.get("said", "")))


urlpatterns = [path("run/", run), *project_urlpatterns]
