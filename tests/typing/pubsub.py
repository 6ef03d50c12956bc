"""The public names of pub/sub as a type checker sees them: checked and never run."""

from __future__ import annotations

from typing import Any, assert_type

from django.contrib.auth.models import AbstractBaseUser
from django.db import models

from turbo.pubsub import ListenableModelMixin, ModelListenConfig, make_token
from turbo.pubsub.consumers import PubSubConsumer
from turbo.typing import ASGIApplication


class Topping(ListenableModelMixin, models.Model):
    name = models.CharField(max_length=100)

    serializer_fields = ("pk", "name")
    deleted_fields = ("name",)

    @classmethod
    def should_notify(cls, instance: Topping, action: str) -> bool:
        return bool(instance.name)

    @classmethod
    def has_access(cls, instance: Topping, user: Any) -> bool:
        return bool(user.is_authenticated)


class OrderListenConfig(ModelListenConfig):
    model_path = "shop.Order"
    serializer_class = "shop.serializers.OrderSerializer"


def token_of(user: AbstractBaseUser) -> None:
    assert_type(make_token(user), str)


def application() -> None:
    assert_type(PubSubConsumer.as_asgi(), ASGIApplication)
