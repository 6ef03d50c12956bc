"""What the searches run against: consumers of every protocol, and two users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.filters import OrderingFilter, SearchFilter

import turbo
from tests.bindings.app.models import Product
from tests.observers.app.consumers import (
    ArticleConsumer,
    Pages,
    PersonConsumer,
    SeatConsumer,
    TokenConsumer,
)
from tests.observers.app.models import Article, Person, Seat, Token
from tests.pubsub.shop.models import Topping
from tests.support.servers import PATIENCE
from tests.testapp.models import Room
from tests.testapp.streams import Announcements
from turbo import Stream
from turbo.bindings import Binding, BindingConsumer
from turbo.conf import layer_is_redis
from turbo.consumers import TurboStreamsConsumer
from turbo.observers import (
    BasePermission,
    IsAuthenticated,
    Multiplexer,
    action,
    model_observer,
)
from turbo.pubsub.consumers import PubSubConsumer
from turbo.pubsub.tokens import make_token
from turbo.typing import ASGIApplication

__all__ = [
    "APPLICATIONS",
    "SECRET",
    "ClosedBindingConsumer",
    "MyConsumer",
    "OnlyStaff",
    "Several",
    "StoreConsumer",
    "World",
]

#: What another user has and no answer may hold. No client can guess it.
SECRET = "kept-from-strangers-7f3a"


class OnlyStaff(Stream):
    class Meta:
        app_label = "fuzz"

    def user_passes_test(self, user: Any) -> bool:
        return bool(user.is_staff)


class MyConsumer(PersonConsumer):
    """Everything that a client may do, with what is its own."""

    filter_backends = (DjangoFilterBackend, OrderingFilter, SearchFilter)
    filterset_fields = {  # noqa: RUF012
        "name": ["exact", "icontains", "in"],
        "active": ["exact"],
        "team": ["exact", "in", "isnull"],
    }
    ordering_fields = ("name",)
    search_fields = ("name",)
    pagination_class = Pages

    def get_queryset(self, **kwargs: Any) -> QuerySet[Any]:
        return super().get_queryset(**kwargs).filter(owner=self.scope["user"])

    def perform_create(self, serializer: Any, **kwargs: Any) -> None:
        serializer.save(owner=self.scope["user"])

    @action()
    async def echo(self, value: Any = None, **kwargs: Any) -> Any:
        return {"value": value, "more": kwargs}, 200

    @action()
    def echo_in_a_thread(self, value: Any, **kwargs: Any) -> Any:
        return value, 200

    @action(detached=True)
    async def later(self, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return kwargs.get("value"), 200

    @model_observer(Person)
    async def mine(
        self, message: Any, subscribing_request_ids: Any = (), **kwargs: Any
    ) -> None:
        for request_id in subscribing_request_ids:
            await self.reply("mine", data=message, request_id=request_id)

    @mine.groups_for_signal
    def mine(self, instance: Person, **kwargs: Any) -> Iterator[str]:
        yield f"owner-{instance.owner_id}"

    @mine.groups_for_consumer
    def mine(self, consumer: Any, **kwargs: Any) -> Iterator[str]:
        yield f"owner-{consumer.scope['user'].pk}"

    @action()
    async def subscribe_to_mine(self, request_id: Any, **kwargs: Any) -> Any:
        await self.mine.subscribe(request_id=request_id)
        return None, 201

    @action()
    async def unsubscribe_from_mine(
        self, request_id: Any, which: Any = None, **kwargs: Any
    ) -> Any:
        await self.mine.unsubscribe(request_id=which)
        return None, 204


class NobodyConnects(BasePermission):
    async def can_connect(self, scope: Any, consumer: Any, message: Any = None) -> bool:
        return False


class ClosedConsumer(PersonConsumer):
    permission_classes = (NobodyConnects,)


class StrangersConsumer(PersonConsumer):
    """Everybody's rows, and nobody may do anything with them but connect."""

    permission_classes = (~IsAuthenticated,)

    async def may_connect(self, message: Any = None) -> bool:
        return True


class Several(Multiplexer):
    consumers = {  # noqa: RUF012
        "mine": MyConsumer,
        "seats": SeatConsumer,
        "articles": ArticleConsumer,
        "tokens": TokenConsumer,
        "closed": ClosedConsumer,
        "refused": StrangersConsumer,
    }


class Store(Binding):
    model = Product
    filters = {"venue": "store"}  # noqa: RUF012


class StoreConsumer(BindingConsumer):
    event = "store"
    binding = Store
    page_size = 2


class ClosedBindingConsumer(StoreConsumer):
    def user_passes_test(self, user: Any) -> bool:
        return bool(user.is_staff)


#: Each protocol by its name, and who serves it.
APPLICATIONS: dict[str, ASGIApplication] = {
    "pages": TurboStreamsConsumer.as_asgi(),
    "observers": MyConsumer.as_asgi(),
    "multiplexer": Several.as_asgi(),
    "bindings": StoreConsumer.as_asgi(),
    "pubsub": PubSubConsumer.as_asgi(),
}


class World:
    """The rows of two users. One of them is a stranger, who sends the frames."""

    def __init__(self) -> None:
        self.stranger = User.objects.create_user("stranger", password="x")
        self.owner = User.objects.create_user("owner", password="x", is_staff=True)
        self.secret = Person.objects.create(name=SECRET, owner=self.owner)
        self.cellar = Room.objects.create(name="Cellar", public=False)
        self.cellar.members.add(self.owner)
        self.lobby = Room.objects.create(name="Lobby")
        self.seat = Seat.objects.create(row=1, number=2, name="Aisle")
        self.article = Article.objects.create(slug="news", title="News")
        self.token = Token.objects.create(name="Token")
        self.hidden = Product.objects.create(name=SECRET, venue="online")
        for number in range(3):
            Product.objects.create(name=f"Product {number}", venue="store")
        self.mine = 0

    def prepare(self) -> None:
        """Give the stranger one row, whatever was done before; for threads."""
        Person.objects.exclude(pk=self.secret.pk).delete()
        self.secret.save()
        self.mine = Person.objects.create(name="Mine", owner=self.stranger).pk

    def disturb(self) -> None:
        """Change and tell what the stranger may not see; for threads."""
        self.secret.save()
        self.hidden.save()
        if layer_is_redis():
            Topping.objects.create(name=SECRET, secret=True).delete()
        for stream in (self.cellar.stream, OnlyStaff()):
            stream.append(text=SECRET, id="x")
        turbo.flush(PATIENCE)

    def is_untouched(self) -> bool:
        """Return whether what is the owner's is as it was; for threads."""
        names = Person.objects.filter(owner=self.owner).values_list("name", flat=True)
        return list(names) == [SECRET]

    def words(self) -> dict[str, Any]:
        """Return what the words in frames stand for."""
        return {
            "mine": self.mine,
            "theirs": self.secret.pk,
            "gone": self.mine + 1_000_000,
            "seat": [1, 2],
            "token": str(self.token.pk),
            "announced": Announcements().sign(self.stranger),
            "lobby": self.lobby.stream.sign(self.stranger),
            "anyone": self.lobby.stream.sign(None),
            "cellar": self.cellar.stream.sign(self.stranger),
            "staff": OnlyStaff().sign(self.stranger),
            "foreign": Announcements().sign(self.owner),
            "forged": Announcements().sign(self.stranger)[:-1] + "?",
            "admission": self.admission_of(self.stranger),
        }

    @staticmethod
    def admission_of(user: User) -> str:
        """Return a token of pub/sub."""
        return make_token(user)
