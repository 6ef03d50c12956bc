"""What the bindings of the tests bind."""

from __future__ import annotations

import decimal
import uuid
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


class Product(models.Model):
    class Venue(models.TextChoices):
        ONLINE = "online"
        STORE = "store"

    name = models.CharField(max_length=100)
    venue = models.CharField(max_length=10, choices=Venue, default=Venue.STORE)
    stock = models.IntegerField(default=0)
    price = models.DecimalField(
        max_digits=8, decimal_places=2, default=decimal.Decimal(1)
    )
    tags: Any = models.ManyToManyField("Label", blank=True)

    def __str__(self) -> str:
        return self.name


class Label(models.Model):
    text = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.text


class Review(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="reviews")
    stars = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.stars} stars"


class Everything(models.Model):
    """A field of every kind."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    big = models.BigIntegerField(null=True)
    binary = models.BinaryField(default=b"\x00\xff")
    boolean = models.BooleanField(null=True)
    date = models.DateField(default=timezone.localdate)
    datetime = models.DateTimeField(default=timezone.now)
    decimal = models.DecimalField(max_digits=20, decimal_places=5, default=0)
    duration = models.DurationField(null=True)
    file = models.FileField(blank=True)
    floating = models.FloatField(default=0.1)
    generated: Any = models.GeneratedField(
        expression=models.F("floating") * 2,
        output_field=models.FloatField(),
        db_persist=True,
    )
    ip = models.GenericIPAddressField(null=True)
    json = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    product = models.ForeignKey(Product, models.SET_NULL, null=True)
    text = models.TextField(default='"<ü>"\n')
    time = models.TimeField(null=True)

    def __str__(self) -> str:
        return self.text


class Item(models.Model):
    """Rows that are ordered in many ways."""

    text = models.CharField(max_length=100, blank=True)
    number = models.IntegerField(null=True)
    floating = models.FloatField(default=0)
    decimal = models.DecimalField(max_digits=8, decimal_places=3, default=0)
    moment = models.DateTimeField(null=True)
    date = models.DateField(null=True)
    time = models.TimeField(null=True)
    duration = models.DurationField(null=True)
    key = models.UUIDField(default=uuid.uuid4)
    flag = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.text


class Vehicle(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Car(Vehicle):
    doors = models.IntegerField(default=4)


class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.IntegerField()
    number = models.IntegerField()
    taken = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.row}/{self.number}"
