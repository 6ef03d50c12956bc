"""Models of their own, so that nothing that is observed here is noticed elsewhere."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Team(models.Model):
    name = models.CharField(max_length=100)


class Tag(models.Model):
    name = models.CharField(max_length=100)


class Person(models.Model):
    name = models.CharField(max_length=100)
    active = models.BooleanField(default=True)
    team = models.ForeignKey(Team, models.CASCADE, null=True, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True
    )
    tags = models.ManyToManyField(Tag, blank=True)


class Employee(Person):
    room = models.CharField(max_length=10, blank=True)


class Token(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)


class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.IntegerField()
    number = models.IntegerField()
    name = models.CharField(max_length=100)


class Article(models.Model):
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=100)
