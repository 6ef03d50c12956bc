"""The consumer from the documentation of both libraries."""

from __future__ import annotations

import os

from rest_framework import serializers

from people.models import Person

if os.environ["BENCH_LIBRARY"] == "ours":
    from turbo.observers import GenericAsyncAPIConsumer, ObserverModelInstanceMixin
else:
    from djangochannelsrestframework.generics import GenericAsyncAPIConsumer
    from djangochannelsrestframework.observer.generics import (
        ObserverModelInstanceMixin,
    )


class PersonSerializer(serializers.ModelSerializer):
    class Meta:
        model = Person
        fields = ["id", "name", "biography"]


class PersonConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.all()
    serializer_class = PersonSerializer
