"""An open history, and a site in development."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from turbo.inspector.history import InspectorHistory, history


@pytest.fixture
def opened() -> Iterator[InspectorHistory]:
    """The history of this process, taking notes as it does with ``DEBUG``."""
    history.open()
    yield history
    history.close()


@pytest.fixture
def developing(settings: Any) -> Any:
    """The settings of a site in development, without toolbar addresses."""
    settings.DEBUG = True
    settings.INTERNAL_IPS = []
    return settings


@pytest.fixture
def staff(django_user_model: Any) -> Client:
    """A client that is logged in as one of the staff."""
    client = Client()
    user = django_user_model.objects.create_user("ada", is_staff=True)
    client.force_login(user)
    return client
