"""
Tasks for Celery, whose workers are forked from a process that has broadcast already.

Broker and results are on the Redis of the channel layer.
"""

from __future__ import annotations

import os

import django
from celery import Celery

django.setup()

import turbo  # noqa: E402
from tests.testapp.models import Message  # noqa: E402
from tests.testapp.streams import Announcements  # noqa: E402

app = Celery("tests", broker=os.environ["TEST_BROKER"])

Announcements().append(text="from the parent", id="list")
turbo.flush(60)


@app.task
def count(number: int) -> None:
    """Show how far it is."""
    with Announcements().progress(id="job", total=number) as progress:
        for row in range(number):
            progress.advance(note=f"Row {row}")


@app.task
def say(text: str) -> None:
    """Save a message, which is broadcast after the commit."""
    Message.objects.create(room_id=1, text=text)
