"""
A colleague who answers whoever begins a message with "@bot".

A small generator stands in for a language model. The answer is a message whose text
grows on all pages, and which is saved when it is complete.
"""

import time
from threading import Thread

from django.contrib.auth import get_user_model
from django.db import connection

from .models import Message

NAME = "bot"
PAUSE = 0.05  # seconds from word to word
ROUNDS = 30  # about everything there is a lot to say, until somebody presses Stop
SENTENCES = (
    "I am only a small generator, and know nothing about it.",
    "But every word that I say appears on all pages of this room at once.",
    "Open another window in the middle of it, or reload this one:",
    "no letter is missing, and none is there twice.",
)


def is_asked(message):
    return message.text.casefold().startswith("@bot")


def answer(question):
    """Add a message of the bot, and write its text in the background."""
    author, _ = get_user_model().objects.get_or_create(
        username=NAME, defaults={"first_name": "Bot"}
    )
    message = Message.objects.create(room=question.room, author=author, writing=True)
    Thread(target=write, args=(message, words_about(question.text))).start()


def write(message, words):
    text = message.room.stream.text(id=message.answer_id)
    try:
        with text:
            for word in words:
                if not Message.objects.filter(pk=message.pk, writing=True).exists():
                    break  # somebody has pressed Stop
                text.write(word)
        message.text = text.text or "I have nothing to say."
        message.writing = False
        message.save(update_fields=["text", "writing"])  # and MessageStream shows it
    finally:
        connection.close()


def words_about(question):
    topic = question[len("@bot") :].strip(" ?.!,:") or "nothing at all"
    yield f"You asked about “{topic}”."
    for sentence in SENTENCES * (ROUNDS if topic == "everything" else 1):
        for word in sentence.split():
            time.sleep(PAUSE)
            yield f" {word}"
