"""Consumers as projects write them; found by autodiscovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.filters import OrderingFilter

from tests.observers.app.models import Article, Person, Seat, Token
from tests.observers.app.serializers import (
    ArticleSerializer,
    PersonSerializer,
    SeatSerializer,
    TaggedSerializer,
    TokenSerializer,
)
from turbo.observers import (
    CreateModelMixin,
    DeleteModelMixin,
    GenericAsyncAPIConsumer,
    ListModelMixin,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    PatchModelMixin,
    UpdateModelMixin,
    WebsocketLimitOffsetPagination,
    action,
    model_observer,
)


class PersonConsumer(
    ListModelMixin,
    CreateModelMixin,
    UpdateModelMixin,
    PatchModelMixin,
    DeleteModelMixin,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    GenericAsyncAPIConsumer,
):
    queryset = Person.objects.order_by("id")
    serializer_class = PersonSerializer


class Pages(WebsocketLimitOffsetPagination):
    default_limit = 2


class FilteredConsumer(ListModelMixin, ObserverModelListMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.order_by("id")
    serializer_class = PersonSerializer
    filter_backends = (DjangoFilterBackend, OrderingFilter)
    filterset_fields = ("active", "team")
    ordering_fields = ("name",)
    pagination_class = Pages


class ActiveConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    """Sees active people only: others are not there."""

    queryset = Person.objects.filter(active=True)
    serializer_class = PersonSerializer


class TaggedConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.prefetch_related("tags")
    serializer_class = TaggedSerializer
    observer_many_to_many_relationships = True


class OtherConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    """Lives in the other database."""

    queryset = Person.objects.using("other")
    serializer_class = PersonSerializer


class TokenConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Token.objects.all()
    serializer_class = TokenSerializer


class SeatConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Seat.objects.all()
    serializer_class = SeatSerializer


class ArticleConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Article.objects.all()
    serializer_class = ArticleSerializer
    lookup_field = "slug"


class TeamConsumer(GenericAsyncAPIConsumer):
    """Handlers of its own: everybody, and the people of one team."""

    queryset = Person.objects.all()
    serializer_class = PersonSerializer

    @model_observer(Person)
    async def everybody(
        self,
        message: Any,
        action: str,
        subscribing_request_ids: Any = (),
        **kwargs: Any,
    ) -> None:
        for request_id in subscribing_request_ids:
            await self.reply(action, data=message, request_id=request_id)

    @action()
    async def subscribe_to_everybody(self, request_id: Any, **kwargs: Any) -> Any:
        await self.everybody.subscribe(request_id=request_id)
        return None, 201

    @action()
    async def unsubscribe_from_everybody(
        self, request_id: Any = None, which: Any = None, **kwargs: Any
    ) -> Any:
        await self.everybody.unsubscribe(request_id=which)
        return None, 204

    @model_observer(Person, serializer_class=PersonSerializer)
    async def members(
        self,
        message: Any,
        action: str,
        subscribing_request_ids: Any = (),
        group: str = "",
        **kwargs: Any,
    ) -> None:
        for request_id in subscribing_request_ids:
            await self.reply(action, data=[group, message], request_id=request_id)

    @members.groups_for_signal
    def members(self, instance: Person, **kwargs: Any) -> Iterator[str]:
        if instance.team_id is not None:
            yield f"team-{instance.team_id}"

    @members.groups_for_consumer
    def members(self, team: int, **kwargs: Any) -> Iterator[str]:
        yield f"team-{team}"

    @action()
    async def subscribe_to_team(self, team: int, request_id: Any, **kwargs: Any) -> Any:
        await self.members.subscribe(team=team, request_id=request_id)
        return None, 201

    @action()
    async def unsubscribe_from_team(
        self, team: int, request_id: Any, **kwargs: Any
    ) -> Any:
        await self.members.unsubscribe(team=team, request_id=request_id)
        return None, 204
