"""A pizzeria: models that declare themselves listenable, and one that does not."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import models

import turbo
from turbo.pubsub import ListenableModelMixin


class Topping(ListenableModelMixin, models.Model):
    """Secret ones are only for the staff; drafts are not told of at all."""

    name = models.CharField(max_length=100)
    secret = models.BooleanField(default=False)
    draft = models.BooleanField(default=False)

    objects = turbo.ChangesQuerySet["Topping"].as_manager()

    serializer_fields = ("pk", "name")

    @classmethod
    def should_notify(cls, instance: Topping, action: str) -> bool:
        return not instance.draft

    @classmethod
    def has_access(cls, instance: Topping, user: Any) -> bool:
        return not instance.secret or user.is_staff


class FavouriteTopping(Topping):
    class Meta:
        proxy = True


class Pizza(ListenableModelMixin, models.Model):
    """For its owner's eyes."""

    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=6, decimal_places=2, default="7.50")
    baked = models.DateTimeField(null=True)
    owner = models.ForeignKey(User, models.CASCADE, null=True)
    toppings = models.ManyToManyField(Topping)

    serializer_class = "tests.pubsub.shop.serializers.PizzaSerializer"

    @classmethod
    def has_access(cls, instance: Pizza, user: Any) -> bool:
        return bool(user == instance.owner)


class Crate(models.Model):
    """Knows nothing of pub/sub: a config listens to it."""

    number = models.UUIDField(primary_key=True)
    weight = models.IntegerField(default=0)
    password = models.CharField(max_length=20, default="hush")
