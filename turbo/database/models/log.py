"""
The tables of the replay log; :mod:`turbo.database.log` says what is done with them.

All times are microseconds of the database's clock.
"""

from __future__ import annotations

from django.db import models

__all__ = ["LogBatch", "LogKey", "LogMessage", "LogStream", "LogWord"]


class LogWord(models.Model):
    """A random word, in one row, which is lost when the tables are emptied."""

    word = models.CharField(max_length=32)


class LogStream(models.Model):
    """What is known of one stream."""

    sid = models.CharField(max_length=191, primary_key=True)
    epoch = models.CharField(max_length=32)
    #: What identified the data of the database when the epoch began.
    data = models.CharField(max_length=128)
    #: The number of the last message, and its time.
    tip = models.BigIntegerField(default=0)
    last = models.BigIntegerField()
    #: No message later than this was lost.
    cut = models.BigIntegerField()
    #: Batches that were first sent by then may be unknown.
    unknown = models.BigIntegerField(default=0)
    #: Whether a message was overtaken and no gap marker has followed.
    owes_gap = models.BooleanField(default=False)
    #: When the stream may be forgotten.
    until = models.BigIntegerField(db_index=True)


class LogMessage(models.Model):
    """A message of a stream; one without data is a gap marker."""

    pk = models.CompositePrimaryKey("sid", "number")
    sid = models.CharField(max_length=191)
    number = models.BigIntegerField()
    time = models.BigIntegerField(db_index=True)
    #: The names of what it is about, as a list in JSON.
    names = models.TextField()
    writer = models.TextField()
    data = models.BinaryField(null=True)


class LogBatch(models.Model):
    """The last batch of a producer and its answer, to recognise a repetition."""

    producer = models.CharField(max_length=32, primary_key=True)
    number = models.BigIntegerField()
    answer = models.TextField()
    time = models.BigIntegerField(db_index=True)


class LogKey(models.Model):
    """A claim, or the time of a revocation, until some time."""

    key = models.CharField(max_length=64, primary_key=True)
    value = models.BigIntegerField(default=0)
    until = models.BigIntegerField(db_index=True)
