"""
The URLs of the inspector's page::

    path("__turbo__/", include("turbo.inspector.urls")),
"""

from __future__ import annotations

from django.urls import path

from turbo.inspector.views import data, inspector

__all__ = ["app_name", "urlpatterns"]

app_name = "turbo_inspector"
urlpatterns = [
    path("", inspector, name="page"),
    path("data/", data, name="data"),
]
