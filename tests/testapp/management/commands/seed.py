from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from tests.testapp.models import Board, Room


class Command(BaseCommand):
    help = "Load what every live server starts with."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()._default_manager
        ann, bob, _ = [
            users.create_user(name, password=name) for name in ("ann", "bob", "eve")
        ]
        Room.objects.create(pk=1, name="Lobby")
        Room.objects.create(pk=2, name="Cellar", public=False).members.set([ann, bob])
        Board.objects.create(pk=1, name="Plan")
