"""Consumers as projects write them; found by autodiscovery."""

from __future__ import annotations

from django.contrib.auth.models import User

from tests.observers.app.serializers import RoomSerializer, UserSerializer
from tests.testapp.models import Room
from turbo.observers import (
    CreateModelMixin,
    DeleteModelMixin,
    GenericAsyncAPIConsumer,
    ListModelMixin,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    PatchModelMixin,
    UpdateModelMixin,
)


class UserConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = User.objects.all()
    serializer_class = UserSerializer


class RoomConsumer(
    ListModelMixin,
    CreateModelMixin,
    UpdateModelMixin,
    PatchModelMixin,
    DeleteModelMixin,
    ObserverModelListMixin,
    ObserverModelInstanceMixin,
    GenericAsyncAPIConsumer,
):
    queryset = Room.objects.order_by("pk")
    serializer_class = RoomSerializer
