"""A client of the observers' protocol that runs in the test's own loop."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator

import turbo
from tests.support.servers import PATIENCE

__all__ = ["Client"]


class Client:
    """
    One connection to a consumer class: ``async with Client(UserConsumer) as client:``.

    ``ask`` sends an action and returns its answer; ``next`` returns what comes without
    having been asked for.
    """

    def __init__(self, consumer: type[Any], user: Any = None, **scope: Any) -> None:
        self.communicator = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
        self.communicator.scope.update(scope)
        if user is not None:
            self.communicator.scope["user"] = user
        self._last_id = 0

    async def __aenter__(self) -> Client:
        connected, _ = await self.communicator.connect(timeout=PATIENCE)
        assert connected
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await sync_to_async(turbo.flush)()  # while this loop still runs
        await self.communicator.disconnect(timeout=PATIENCE)

    async def send(self, /, **message: Any) -> None:
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_to(text_data=text)

    async def next(self, timeout: float = PATIENCE) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(
            await self.communicator.receive_from(timeout)
        )
        return message

    async def ask(self, action: str, /, **arguments: Any) -> dict[str, Any]:
        """Send an action and return the next message, which must be its answer."""
        self._last_id += 1
        request_id = arguments.setdefault("request_id", self._last_id)
        await self.send(action=action, **arguments)
        answer = await self.next()
        assert answer["request_id"] == request_id, answer
        return answer

    async def nothing(self) -> bool:
        """Return whether the server has nothing to say that it was asked before."""
        await self.send(action="ping", request_id="nothing?")
        return (await self.next())["request_id"] == "nothing?"
