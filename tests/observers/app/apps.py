from __future__ import annotations

from django.apps import AppConfig


class ObserversAppConfig(AppConfig):
    name = "tests.observers.app"
    label = "observers_app"
