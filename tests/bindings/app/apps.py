from __future__ import annotations

from django.apps import AppConfig


class BindingsTestAppConfig(AppConfig):
    name = "tests.bindings.app"
    label = "bindings_app"
