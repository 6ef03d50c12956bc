"""
The URLs of event streams and of the commands of native apps::

    path("turbo/", include("turbo.urls")),
"""

from __future__ import annotations

from django.urls import path

from turbo.connections.sse import event_stream
from turbo.http import native

__all__ = ["app_name", "urlpatterns"]

app_name = "turbo"
urlpatterns = [path("sse/", event_stream, name="sse"), *native.urlpatterns]
