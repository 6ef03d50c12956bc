from __future__ import annotations

from django.db import models


class Room(models.Model):
    name = models.CharField(max_length=100)


class Plain(models.Model):
    """A model without a stream, for comparison."""

    name = models.CharField(max_length=100)
