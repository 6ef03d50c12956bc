"""
A process that forks writers, one after the other, and kills each at a random instant.

Half of the writers save under autocommit. The others write transactions, each of which
saves a message, deletes the one before, and calls a verb itself.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time

THREADS = 2
#: Seconds between two transactions of a thread.
PAUSE = 0.001
#: Seconds that a writer lives after its first commit, at most.
LIFE = 0.25


def main(kills: int) -> None:
    """Fork writers; print a line for each hundred that were killed."""
    import django

    django.setup()
    for number in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            work(number, writing)
        os.close(writing)
        os.read(reading, 1)  # the first commit
        time.sleep(random.uniform(0, LIFE))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        if not (number + 1) % 100:
            print(number + 1, "killed", flush=True)


def work(number: int, writing: int) -> None:
    """Write until this process is killed."""
    from tests.testapp.models import Message, Room

    # A stream of its own, so that no log is longer than one may be. The rooms that are
    # there have no numbers of the sequence.
    room = Room.objects.create(pk=1_000 + number, name=f"Room {number}")

    def save(text: str) -> None:
        Message.objects.create(room=room, text=text)

    def transact(text: str) -> None:
        from django.db import transaction

        mine = f"{threading.get_ident()}.last"
        with transaction.atomic():
            last = Message.objects.filter(room=room, text__startswith=mine).first()
            gone = last.pk if last else 0
            save(f"{text}.verb.{gone}")
            room.stream.update(text=f"<{text}.verb>", id="state")
            if last is not None:
                last.delete()
            save(f"{mine}.{text}")

    def run(thread: int) -> None:
        write = transact if number % 2 else save
        for count in itertools.count():
            write(f"n{number}.{thread}.{count}")
            if not count:
                os.write(writing, b"1")
            time.sleep(PAUSE)

    for thread in range(THREADS):
        threading.Thread(target=run, args=(thread,)).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
