from django.contrib.auth import get_user_model, login
from django.shortcuts import redirect, render

from .streams import AlertComponent


def components(request):
    return render(request, "app/home.html", {"alert": AlertComponent()})


def log_in(request, username):
    user, _ = get_user_model().objects.get_or_create(username=username)
    login(request, user)
    return redirect("components")
