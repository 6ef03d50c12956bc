"""Code that was written for Django Channels REST Framework works unchanged."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from channels.testing import ApplicationCommunicator, WebsocketCommunicator

from tests.observers.app.consumers import PersonConsumer
from tests.support.servers import PATIENCE
from turbo.exceptions import ConfigurationError
from turbo.observers import AsyncAPIConsumer, Multiplexer, action

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class GreetingConsumer(AsyncAPIConsumer):
    def __init__(self, greeting: str = "Hi") -> None:
        super().__init__()
        self.greeting = greeting

    @action()
    async def greet(self, **kwargs: Any) -> Any:
        return self.greeting, 200


async def test_a_consumer_is_an_application_for_one_connection() -> None:
    consumer = GreetingConsumer("Good day")
    communicator = WebsocketCommunicator(consumer, "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (True, None)
    await communicator.send_json_to({"action": "greet", "request_id": 1})
    answer = await communicator.receive_json_from(PATIENCE)
    await communicator.disconnect(timeout=PATIENCE)

    assert (answer["data"], consumer.scope["path"]) == ("Good day", "/ws/")


async def test_a_multiplexer_is_an_application_as_well() -> None:
    class Everything(Multiplexer):
        consumers: ClassVar[Any] = {"people": PersonConsumer}

    communicator = WebsocketCommunicator(Everything(), "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (True, None)
    await communicator.disconnect(timeout=PATIENCE)


async def test_a_consumer_in_a_route_does_not_mix_up_its_clients() -> None:
    """Channels' own consumers give the second client the attributes of the first."""
    consumer = GreetingConsumer()
    first = WebsocketCommunicator(consumer, "/ws/")
    second = ApplicationCommunicator(consumer, first.scope)
    await first.connect(timeout=PATIENCE)

    with pytest.raises(ConfigurationError, match=r"Route to \S+as_asgi\(\), which"):
        await second.wait(PATIENCE)

    await first.disconnect(timeout=PATIENCE)


def test_options_of_an_action_that_are_the_projects_own_are_kept() -> None:
    class DescribedConsumer(AsyncAPIConsumer):
        @action(docs="Says hello.")
        async def greet(self, **kwargs: Any) -> Any: ...

        @action(name="bye", docs="Says good bye.")
        def leave(self, **kwargs: Any) -> Any: ...

    actions = DescribedConsumer.available_actions
    docs = {
        name: getattr(DescribedConsumer, method).kwargs.get("docs")
        for name, method in actions.items()
    }

    assert docs == {"greet": "Says hello.", "bye": "Says good bye.", "ping": None}


def test_an_atomic_coroutine_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="is a coroutine"):

        @action(atomic=True)
        async def one(self: Any) -> None: ...
