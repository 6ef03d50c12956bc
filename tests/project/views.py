from __future__ import annotations

from django.contrib.auth import get_user_model, login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect


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
