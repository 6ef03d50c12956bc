from __future__ import annotations

from rest_framework import serializers

from tests.pubsub.shop.models import Pizza


class PizzaSerializer(serializers.ModelSerializer[Pizza]):
    class Meta:
        model = Pizza
        fields = ("id", "name", "price", "toppings")
