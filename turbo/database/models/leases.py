"""
The tables of leases; :mod:`turbo.replay.leases` says what is done with them.

All times are microseconds of the database's clock.
"""

from __future__ import annotations

from django.db import models

__all__ = ["LeaseMember", "LeaseWatch"]


class LeaseMember(models.Model):
    """A member of a stream, and who holds a lease for it."""

    #: A digest of what identifies the member.
    key = models.CharField(max_length=64, primary_key=True)
    #: That of the log: several sites may share the table.
    prefix = models.CharField(max_length=150)
    sid = models.CharField(max_length=191, db_index=True)
    member = models.TextField()
    since = models.BigIntegerField()
    until = models.BigIntegerField()
    is_told = models.BooleanField(default=False)
    busy = models.BigIntegerField(default=0)
    #: The ends of the leases by holder, as an object in JSON.
    holders = models.TextField(default="{}")
    #: The time of the next change.
    due = models.BigIntegerField()

    class Meta:
        indexes = (models.Index(fields=["prefix", "due"], name="turbo_lease_due"),)


class LeaseWatch(models.Model):
    """Since when somebody looks, and until when there are no changes."""

    prefix = models.CharField(max_length=150, primary_key=True)
    word = models.CharField(max_length=32)
    run = models.CharField(max_length=191)
    begun = models.BigIntegerField()
    seen = models.BigIntegerField()
    quiet = models.BigIntegerField()
