import itertools
from datetime import timedelta

from board.models import Board, Card
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

import turbo
from chat.models import Announcement, Message, Room

USERS = [
    # log-in and password, first name, last name, staff
    ("ada", "Ada", "Lovelace", True),
    ("grace", "Grace", "Hopper", False),
]

ROOMS = {
    "Lobby": [
        ("ada", "Good morning! The kettle is on."),
        ("grace", "Morning. I am bringing the biscuits."),
        ("ada", "Open this room in a second window and write something there."),
        ("grace", "It appears in both without a reload. Edits and deletions do, too."),
    ],
    "Kitchen": [
        ("grace", "Who has taken the blue mug?"),
        ("ada", "It is in the dishwasher, as always."),
    ],
    "Board room": [
        ("ada", "Only members of this room can read this."),
    ],
}

WEATHER = ["sunshine", "a few clouds", "drizzle", "rain", "wind", "fog"]

CARDS = [
    ("Write down what we promise", Card.Column.DONE),
    ("Pull the plug of the server and put it back", Card.Column.DOING),
    ("Buy a second blue mug", Card.Column.TODO),
    ("Water the plants", Card.Column.TODO),
]


class Command(BaseCommand):
    help = "Load the demo users, rooms and cards. You can run it more than once."

    @turbo.suppress()
    @transaction.atomic
    def handle(self, **options):
        users = {name: self.user(name, *rest) for name, *rest in USERS}
        for name, messages in ROOMS.items():
            self.room(name, messages, users)
        self.weather(users)
        self.board()
        if not Announcement.objects.exists():
            Announcement.objects.create(text="Welcome to the sample chat!")
        for name in users:
            self.stdout.write(f"Log in as {name} with the password {name}.")

    def user(self, name, first_name, last_name, is_staff):
        names = {"first_name": first_name, "last_name": last_name}
        user, created = get_user_model().objects.get_or_create(
            username=name, defaults={**names, "is_staff": is_staff}
        )
        if created:
            user.set_password(name)
            user.save()
        return user

    def room(self, name, messages, users):
        members_only = name == "Board room"
        room, created = Room.objects.get_or_create(
            name=name, defaults={"members_only": members_only}
        )
        if not created:
            return
        if members_only:
            room.members.add(users["ada"])
        for author, text in messages:
            Message.objects.create(room=room, author=users[author], text=text)

    def weather(self, users):
        """A room with so many messages that the page shows only the last ones."""
        room, created = Room.objects.get_or_create(name="Weather log")
        if not created:
            return
        authors = itertools.cycle(users.values())
        hours = range(120, 0, -1)
        Message.objects.bulk_create(
            Message(
                room=room,
                author=next(authors),
                text=f"{9 + hour % 7} degrees and {WEATHER[hour % 6]}.",
                created=timezone.now() - timedelta(hours=hour),
            )
            for hour in hours
        )

    def board(self):
        board, created = Board.objects.get_or_create(name="Team board")
        if created:
            for title, column in CARDS:
                Card.objects.create(board=board, title=title, column=column)
