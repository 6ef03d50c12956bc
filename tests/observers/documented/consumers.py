from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework import permissions, serializers

from turbo.observers import (
    CreateModelMixin,
    DeleteModelMixin,
    GenericAsyncAPIConsumer,
    ListModelMixin,
    Multiplexer,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    PatchModelMixin,
    UpdateModelMixin,
)


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username"]


class UserConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = User.objects.all()
    serializer_class = UserSerializer


class PeopleConsumer(
    ListModelMixin,
    CreateModelMixin,
    UpdateModelMixin,
    PatchModelMixin,
    DeleteModelMixin,
    ObserverModelListMixin,
    UserConsumer,
):
    queryset = User.objects.order_by("id")


class Everything(Multiplexer):
    consumers = {"people": PeopleConsumer}


class GuardedConsumer(PeopleConsumer):
    permission_classes = (permissions.IsAuthenticatedOrReadOnly,)


class GuardedEverything(Multiplexer):
    consumers = {"people": GuardedConsumer}
