"""One model of every kind that Django knows, each as small as it can be."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.storage import InMemoryStorage
from django.db import models

from turbo.changes import ChangesQuerySet


class Room(models.Model):
    name = models.CharField(max_length=100)
    public = models.BooleanField(default=True)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="rooms"
    )

    def __str__(self) -> str:
        return self.name


class ProxyRoom(Room):
    class Meta:
        proxy = True


class Message(models.Model):
    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True
    )
    text = models.TextField()
    edited = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.text


class UuidItem(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class UuidUser(AbstractBaseUser):
    """A user of a project whose users have no numbers."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(max_length=100, unique=True)
    USERNAME_FIELD = "username"


class CompositeItem(models.Model):
    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Parent(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Child(Parent):
    nickname = models.CharField(max_length=100, blank=True)


class AbstractBase(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class Concrete(AbstractBase):
    pass


class Tag(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Tagged(models.Model):
    name = models.CharField(max_length=100)
    tags = models.ManyToManyField(Tag, blank=True, related_name="tagged")

    def __str__(self) -> str:
        return self.name


class Sheet(models.Model):
    """Columns whose values are more than plain ones, and bulk operations heard of."""

    title = models.CharField(max_length=100, unique=True)
    count = models.IntegerField(default=0)
    doubled = models.GeneratedField(
        expression=models.F("count") * 2,
        output_field=models.IntegerField(),
        db_persist=True,
    )
    data = models.JSONField(default=dict)
    file = models.FileField(storage=InMemoryStorage(), blank=True)

    objects = ChangesQuerySet.as_manager()

    def __str__(self) -> str:
        return self.title


class Person(models.Model):
    name = models.CharField(max_length=100)
    friends = models.ManyToManyField("self", blank=True)
    follows = models.ManyToManyField(
        "self", symmetrical=False, blank=True, related_name="followers"
    )
    #: A table that is also a model, and that two fields could share.
    parents = models.ManyToManyField(Parent, through="Custody", blank=True)

    def __str__(self) -> str:
        return self.name


class Custody(models.Model):
    person = models.ForeignKey(Person, models.CASCADE)
    parent = models.ForeignKey(Parent, models.CASCADE)

    def __str__(self) -> str:
        return f"{self.person_id} of {self.parent_id}"


class Board(models.Model):
    name = models.CharField(max_length=100)
    code = models.CharField(max_length=20, unique=True, null=True)

    def __str__(self) -> str:
        return self.name


class Card(models.Model):
    """What ``Meta.broadcasts_to`` puts on the pages of its board."""

    board = models.ForeignKey(Board, models.CASCADE, null=True, related_name="cards")
    title = models.CharField(max_length=100)

    objects = ChangesQuerySet.as_manager()

    def __str__(self) -> str:
        return self.title


class Pin(models.Model):
    """A change of one refreshes the pages of its board, which it knows by its code."""

    board = models.ForeignKey(Board, models.CASCADE, to_field="code")
    color = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.color
