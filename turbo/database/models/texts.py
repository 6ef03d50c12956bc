"""The table of growing texts, which :mod:`turbo.database.log.texts` fills."""

from __future__ import annotations

from django.db import models

__all__ = ["LogText"]


class LogText(models.Model):
    """A growing text or a progress; times are microseconds of the database's clock."""

    #: Made from the stream and the text's own id, which may be long.
    key = models.CharField(max_length=64, primary_key=True)
    run = models.BigIntegerField()
    writer = models.CharField(max_length=32)
    #: How far it is stored.
    at = models.BigIntegerField(default=0)
    state = models.CharField(max_length=8)
    kind = models.CharField(max_length=8)
    data = models.BinaryField(default=b"")
    #: Until when the writer holds its lease.
    lease = models.BigIntegerField()
    #: When the text may be forgotten.
    until = models.BigIntegerField(db_index=True)
