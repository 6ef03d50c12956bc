"""The table into which triggers write, in every database with captured models."""

from __future__ import annotations

from django.db import models

__all__ = ["CapturedStatement"]


class CapturedStatement(models.Model):
    """
    What one statement has changed in a table, or what signals have told of it.

    The triggers of :mod:`turbo.database.captured.triggers` write it, or the process
    right before a commit. The rows of one transaction become visible together.
    """

    #: The id of the transaction.
    xid = models.CharField(max_length=32)
    #: The label of the table's model, with its namespace; empty for signals.
    model = models.CharField(max_length=200)
    #: ``insert``, ``update``, ``delete``, ``truncate`` or ``signals``.
    operation = models.CharField(max_length=8)
    #: The rows, with some of their columns, or ``None`` if there are too many.
    content = models.JSONField(null=True)
    #: How many rows there are.
    count = models.PositiveBigIntegerField()

    class Meta:
        indexes = (models.Index(fields=["xid"], name="turbo_captured_xid"),)

    def __str__(self) -> str:
        return f"{self.operation} in transaction {self.xid}"
