"""Imports that take a while, with their progress on a page."""

from threading import Thread
from uuid import uuid4

from django.db import connection

from .models import Message


def start(room, author, lines):
    """Import lines as messages in the background; return the id of the progress."""
    id = f"import-{uuid4().hex}"
    Thread(target=run, args=(room, author, lines, id)).start()
    return id


def run(room, author, lines, id):
    try:
        with room.stream.progress(id=id, total=len(lines)) as progress:
            for number, line in enumerate(lines, 1):
                Message.objects.create(room=room, author=author, text=line)
                progress.advance(note=f"{number} of {len(lines)} messages")
    finally:
        connection.close()
