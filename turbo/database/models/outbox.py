"""The table of the outbox, which is in every database with durable models."""

from __future__ import annotations

from django.db import models

__all__ = ["OutboxEntry"]


class OutboxEntry(models.Model):
    """
    What one transaction has changed, until it has been told.

    It is written in the transaction itself. Times are those of the database's clock.
    """

    #: When its process was last known to be alive; the next attempt follows later.
    seen = models.DateTimeField()
    #: A word of the process that tells it.
    owner = models.CharField(max_length=32)
    #: The changes, and the messages that waited for the commit, as JSON.
    content = models.TextField()
    #: How often another process has begun to tell it.
    attempts = models.PositiveSmallIntegerField(default=0)
    #: Whether it was set aside, because all attempts have failed.
    failed = models.BooleanField(default=False)
    #: The id of the transaction, if the database has one.
    xid = models.CharField(max_length=32, null=True)

    class Meta:
        indexes = (models.Index(fields=["failed", "seen"], name="turbo_outbox_due"),)

    def __str__(self) -> str:
        return f"Transaction {self.pk}"
