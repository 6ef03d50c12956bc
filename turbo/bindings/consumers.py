"""
A WebSocket for JSON clients that follow a binding.

::

    class ScoresConsumer(turbo.bindings.BindingConsumer):
        event = "scores"
        binding = Scores

        def user_passes_test(self, user):
            return user.is_authenticated

    websocket_urlpatterns = [path("ws/scores/", ScoresConsumer.as_asgi())]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

from django.core.exceptions import ValidationError
from django.db import DataError

from turbo import metrics
from turbo.bindings.binding import Binding
from turbo.bindings.clients.client import BindingClient
from turbo.bindings.messages import message, parse_request
from turbo.bindings.rows.codec import check_storable
from turbo.bindings.store.versions import Version
from turbo.conf import get_settings
from turbo.connections.budgets import ConnectionBudget
from turbo.connections.websocket import Endpoint, WebSocket
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.exceptions import ConfigurationError, FrameError
from turbo.runtime.threads import in_thread
from turbo.typing import Message, Scope

__all__ = ["BindingConsumer", "consumer_classes"]

#: The errors that an unusable argument in the URL may raise.
_REFUSALS = (ArithmeticError, DataError, TypeError, ValidationError, ValueError)

_classes: list[type[BindingConsumer]] = []


def consumer_classes() -> list[type[BindingConsumer]]:
    """Return the consumers that the project declares."""
    return list(_classes)


class BindingConsumer(Endpoint):
    """
    The connection of a JSON client to a binding.

    The client gets all rows when it connects, and then every change. If it reconnects
    with ``?version=``, it gets what it has missed.
    """

    #: The name in every message; the binding's label if empty.
    event: str = ""
    #: A class of bindings, or an instance of one.
    binding: ClassVar[Any] = None
    #: Groups of clients for :func:`~turbo.bindings.send_to_group`.
    groups: ClassVar[Sequence[str]] = ()
    #: Rows in one message of a full sync.
    page_size: int = 100

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _classes.append(cls)

    def __init__(self, scope: Scope, socket: WebSocket) -> None:
        self.scope = scope
        self._socket = socket
        self._client: BindingClient | None = None

    def get_binding(self) -> Binding:
        """
        Return the binding to follow.

        Its parameters are taken from the URL's arguments of the same names.
        """
        binding = self.binding
        if isinstance(binding, Binding):
            return binding
        if not (isinstance(binding, type) and issubclass(binding, Binding)):
            raise ConfigurationError(
                f"{type(self).__name__}.binding is {binding!r}, which is not a Binding."
            )
        arguments = self._arguments()
        return binding(**{name: arguments[name] for name in binding.params})

    def get_groups(self) -> Sequence[str]:
        """Return the groups that this client belongs to."""
        return self.groups

    def user_passes_test(self, user: Any) -> bool:
        """
        Return whether ``user`` may follow the binding; may be ``async def``.

        Called at each connection, and again every ``RECHECK_INTERVAL`` seconds.
        """
        return True

    @classmethod
    def tests_user(cls) -> bool:
        """Return whether this class overrides :meth:`user_passes_test`."""
        return cls.user_passes_test is not BindingConsumer.user_passes_test

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return the limits of the client."""
        return self._known_client.budget

    async def websocket_connect(self, message: Message) -> None:
        """Accept the client, and send the changes since its version."""
        await self._socket.accept()
        binding = await in_thread(self._prepared_binding)
        self._client = BindingClient(self, binding, self.scope, self._socket)
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        await self._client.start(Version.parse(query.get("version", [""])[-1]))

    async def websocket_receive(self, message: Message) -> None:
        """Handle a frame."""
        limit = get_settings().max_frame_bytes
        try:
            request = parse_request(message.get("text"), limit=limit)
        except FrameError as error:
            metrics.count("bad_frames")
            self._known_client.say("error", reason=error.reason, detail=error.detail)
            return
        if request.get("disconnect"):
            self._socket.end(1000)
        elif request.get("ping"):
            self._known_client.say("pong")
        else:
            await self._known_client.resume(Version.parse(request["version"]))

    async def websocket_disconnect(self, message: Message) -> None:
        """Stop the client's tasks and subscriptions."""
        if self._client is not None:
            await self._client.stop()

    def websocket_limited(self) -> None:
        """Tell the client that it sends faster than its frames are read."""
        detail = "Frames come faster than is allowed."
        self._known_client.say("error", reason="limit", detail=detail)

    def websocket_failed(self, error: Exception) -> int:
        """Refuse the client if its arguments caused the error; otherwise report it."""
        if not (self._arguments() and isinstance(error, _REFUSALS)):
            return super().websocket_failed(error)
        metrics.count("refused")
        event = self.event or getattr(self.binding, "label", "")
        self._socket.put(Frame(message(event, "denied", reason="unknown")))
        return CloseCode.FORBIDDEN

    @property
    def _known_client(self) -> BindingClient:
        assert self._client is not None
        return self._client

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments in the URL, which come from the client."""
        route = self.scope.get("url_route") or {}
        arguments: dict[str, Any] = route.get("kwargs", {})
        return arguments

    def _prepared_binding(self) -> Binding:
        for value in self._arguments().values():
            check_storable(value)
        binding = self.get_binding()
        _ = binding.slot  # compiles the queryset, for which Django may use the database
        return binding
