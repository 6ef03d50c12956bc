"""Observers as a type checker sees them: a contract, checked and never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, assert_type

from django.contrib.auth.models import User
from django.db.models import QuerySet
from rest_framework import permissions, serializers

from turbo.observers import (
    Action,
    AllowAny,
    BasePermission,
    CreateModelMixin,
    GenericAsyncAPIConsumer,
    IsAuthenticated,
    ListModelMixin,
    ModelObserver,
    Multiplexer,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    action,
    model_observer,
)
from turbo.typing import ASGIApplication, Scope


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("id", "username")


class IsStaff(BasePermission):
    async def has_permission(
        self, scope: Scope, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return bool(scope["user"].is_staff)


class UserConsumer(
    ListModelMixin,
    CreateModelMixin,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    GenericAsyncAPIConsumer,
):
    queryset = User.objects.all()
    serializer_class = UserSerializer
    permission_classes = (IsStaff & IsAuthenticated, permissions.IsAdminUser, AllowAny)
    observer_many_to_many_relationships = True

    def get_queryset(self, **kwargs: Any) -> QuerySet[Any]:
        return super().get_queryset(**kwargs).filter(is_active=True)

    def get_audience(self) -> str:
        return "everybody"

    @action(atomic=True)
    def rename(self, pk: int, name: str, **kwargs: Any) -> tuple[dict[str, str], int]:
        return {"name": name}, 200

    @action(detached=True)
    async def wait(self, **kwargs: Any) -> tuple[None, int]:
        await self.reply("wait", data={"waiting": True}, request_id=1)
        return None, 204

    @model_observer(User, serializer_class=UserSerializer, many_to_many=True)
    async def activity(self, message: Any, action: str, **kwargs: Any) -> None:
        await self.send_json(message)

    @activity.serializer
    def serialized(self, instance: User, action: Action, **kwargs: Any) -> Any:
        return {"pk": instance.pk, "action": action.value}

    @activity.groups
    def grouped(self, instance: User, **kwargs: Any) -> Iterator[str]:
        yield "all"


class Everything(Multiplexer):
    consumers: ClassVar = {"users": UserConsumer}


assert_type(UserConsumer.as_asgi(), ASGIApplication)
assert_type(Everything.as_asgi(), ASGIApplication)
assert_type(UserConsumer.grouped, ModelObserver)
assert_type(UserConsumer().available_actions, dict[str, str])
