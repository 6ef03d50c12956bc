"""The tables of the channel layer."""

from __future__ import annotations

from django.db import models

__all__ = ["LayerMessage", "LayerTip"]


class LayerTip(models.Model):
    """
    The number of the last message, in one row.

    Whoever sends locks it until the commit, so that numbers appear in their order.
    """

    number = models.BigIntegerField(default=0)


class LayerMessage(models.Model):
    """A message to a channel or, with a ``*`` in front of the name, to a group."""

    number = models.BigIntegerField(primary_key=True)
    address = models.CharField(max_length=255)
    content = models.BinaryField()
    time = models.BigIntegerField(db_index=True)
