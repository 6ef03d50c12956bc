"""
Consumers, whose methods are the actions that a client may call over its WebSocket.

::

    class EchoConsumer(AsyncAPIConsumer):
        @action()
        async def echo(self, text, **kwargs):
            return {"text": text}, 200

    → {"action": "echo", "request_id": 1, "text": "Hello"}
    ← {"action": "echo", "errors": [], "response_status": 200, "request_id": 1,
       "data": {"text": "Hello"}}

Errors are answered in the same envelope, and the connection stays open.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from rest_framework import exceptions

from turbo.connections.budgets import ConnectionBudget
from turbo.connections.websocket import Link
from turbo.observers.actions import action, find_actions, is_detached
from turbo.observers.asking_in_turn import ask
from turbo.observers.conf import get_observer_settings
from turbo.observers.connection.after_reply import Afterwards, Answer, begun_in
from turbo.observers.connection.api_connection import JsonConnection
from turbo.observers.connection.revocations import RevocableConsumer
from turbo.observers.connection.subscriptions import Subscription
from turbo.observers.permissions import BasePermission, adapt
from turbo.observers.wire.replies import (
    TooMany,
    as_api_exception,
    envelope,
    errors_list,
)
from turbo.observers.wire.requests import (
    Call,
    check_arguments,
    check_names,
    check_request_id,
)
from turbo.runtime.failures import log_failure
from turbo.typing import Message, Scope

__all__ = ["AsyncAPIConsumer"]

#: Every action gets these as well; ``get_action_name()`` may return them.
_GIVEN = frozenset({"action", "request_id"})


class AsyncAPIConsumer(JsonConnection):
    """
    A connection whose client calls actions.

    ``permission_classes`` are checked when the client connects and before each action;
    the default is ``TURBO["OBSERVERS"]["PERMISSION_CLASSES"]``.
    """

    permission_classes: Sequence[Any] | None = None
    #: The methods that clients may call, by the name of the action.
    available_actions: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.available_actions = find_actions(cls)

    def attach(self, scope: Scope, link: Link) -> None:
        """Set the connection that this object serves."""
        super().attach(scope, link)
        self._live = RevocableConsumer(self)
        self.visitor = self._live.visitor
        self.revocations = self._live.revocations

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return the limits of the client."""
        return self.visitor.budget

    async def websocket_disconnect(self, message: Message) -> None:
        """End the subscriptions, the tasks and the groups."""
        self.subscriptions.close()
        async with AsyncExitStack() as stack:  # all of it, even if cancelled half-way
            stack.push_async_callback(self._live.stop)
            stack.push_async_callback(super().websocket_disconnect, message)
            await self.revocations.stop()

    async def websocket_connect(self, message: Message) -> None:
        """Check the permissions, and accept or refuse the client."""
        if await self.may_connect(message):
            await super().websocket_connect(message)
        else:
            await self.close()

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        """Run the action that a message asks for."""
        request_id = content.pop("request_id", None)
        try:
            check_request_id(request_id)
        except exceptions.ValidationError as error:
            await self.refuse_frame(error)
            return
        name = None
        try:
            name, arguments = await self.get_action_name(content, **kwargs)
            kept = {k: v for k, v in arguments.items() if k not in _GIVEN}
            check_names(self._method(name), kept)
        except Exception as error:
            await self.handle_exception(error, action=name, request_id=request_id)
            return
        await self.handle_action(name, request_id=request_id, **kept)

    async def get_action_name(
        self, content: dict[str, Any], **kwargs: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return the action that a message names, and its arguments."""
        name = content.pop("action", None)
        if not isinstance(name, str) or not name:
            detail = "Unable to find action in message body."
            raise exceptions.MethodNotAllowed("", detail)
        return name, content

    async def handle_action(self, action: str, request_id: Any, **kwargs: Any) -> None:
        """Run an action in its turn, or at once if it is detached."""
        call = Call(action, request_id, kwargs)
        if is_detached(self._method(action)):
            try:
                method = self.available_actions[action]
                self.run_detached(self._answer(call), name=method)
            except TooMany as error:
                await self._tell_failure(error, call)
        else:
            await self.turns.run(partial(self._answer, call))

    def run_detached(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str = ""
    ) -> None:
        """
        Run a coroutine in the background, until the client disconnects.

        Its task is in the set ``self.detached_tasks[name]`` until it ends; by default,
        the name is that of the coroutine function. If too many are running already, it
        raises ``TooMany``, which clients get as the status 429.
        """
        if not self.visitor.budget.hold("actions"):
            coroutine.close()
            raise TooMany("Too many actions run beside each other.")
        name = name or getattr(coroutine, "__name__", "")
        super().run_detached(self._counted(coroutine), name=name)

    async def _counted(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            await coroutine
        finally:
            self.visitor.budget.release("actions")

    async def _answer(self, call: Call) -> None:
        afterwards = Afterwards(call, generation=self.revocations.generation)
        try:
            if self.asks_per_event() and not self.visitor.budget.spend("tests"):
                raise TooMany("Permissions are asked more often than is allowed.")
            await self.check_permissions(call.action, **call.arguments)
            if (method := self._method(call.action)) is None:
                raise exceptions.MethodNotAllowed(call.action)
            check_arguments(method, call.arguments)
            answer = await method(
                action=call.action, request_id=call.request_id, **call.arguments
            )
            if isinstance(answer, tuple):
                await self._reply_with(answer, call)
        except Exception as error:
            await self._tell_failure(error, call)
        finally:
            afterwards.run()

    async def _tell_failure(self, error: Exception, call: Call) -> None:
        given: dict[str, Any] = {"action": call.action, "request_id": call.request_id}
        try:
            await self.handle_exception(error, **given)
        except Exception as failure:
            # A subclass has overridden it, and that method fails.
            await AsyncAPIConsumer.handle_exception(self, failure, **given)

    async def _reply_with(self, answer: tuple[Any, ...], call: Call) -> None:
        data, status = answer
        extra = answer.extra if isinstance(answer, Answer) else None
        given: dict[str, Any] = {"request_id": call.request_id, "extra": extra}
        await self.websocket_reply(call.action, data=data, status=status, **given)

    def _method(self, name: str) -> Any:
        return getattr(self, self.available_actions.get(name, ""), None)

    @action()
    async def ping(self, **kwargs: Any) -> tuple[None, int]:
        """Answer a client that checks whether its connection works."""
        return None, 200

    # --- Permissions

    async def get_permissions(self, action: str, **kwargs: Any) -> list[BasePermission]:
        """Return the permissions for ``action``."""
        return self._permissions()

    def permissions_now(self, action: str, **kwargs: Any) -> list[BasePermission]:
        """Return the permissions for ``action``; call this in a thread only."""
        if type(self).get_permissions is AsyncAPIConsumer.get_permissions:
            return self._permissions()
        wanted = async_to_sync(self.get_permissions)(action, **kwargs)
        return [adapt(permission) for permission in wanted]

    def asks_per_event(self) -> bool:
        """Return whether permissions are to be checked for each event."""
        own = type(self).get_permissions is not AsyncAPIConsumer.get_permissions
        if own or self.asks_itself():
            return True
        return any(
            permission.asks_objects() or not permission.depends_on_user_only
            for permission in self._permissions()
        )

    def asks_itself(self) -> bool:
        """Return whether the class checks permissions with methods of its own."""
        return type(self).check_permissions is not AsyncAPIConsumer.check_permissions

    def _permissions(self) -> list[BasePermission]:
        classes = self.permission_classes
        if classes is None:
            classes = get_observer_settings().permission_classes
        return [adapt(permission()) for permission in classes]

    async def may_connect(self, message: Message | None = None) -> bool:
        """Return whether all permissions let the client connect."""
        for permission in await self.get_permissions(action="connect"):
            asked = adapt(permission).can_connect
            if not await ask(asked, scope=self.scope, consumer=self, message=message):
                return False
        return True

    async def check_permissions(self, action: str, **kwargs: Any) -> None:
        """Raise ``PermissionDenied`` unless all permissions allow the action."""
        for permission in await self.get_permissions(action, **kwargs):
            asked = adapt(permission).has_permission
            if not await ask(asked, self.scope, self, action, **kwargs):
                raise exceptions.PermissionDenied(getattr(permission, "message", None))

    async def hold(self, key: Any, subscription: Subscription) -> None:
        """
        Keep a subscription that the running action has made.

        If permissions have been revoked since the action began, check them again, and
        raise the error if the client may no longer subscribe.
        """
        revocations = self.revocations
        asked = begun_in(revocations.generation)
        try:
            while asked != revocations.generation:
                async with revocations.lock:
                    asked = revocations.generation
                if (error := await subscription.why_refused()) is not None:
                    raise error
        except BaseException:
            subscription.stop()
            raise
        self.subscriptions.add(key, subscription)

    # --- Answers

    async def reply(
        self,
        action: str | None,
        data: Any = None,
        errors: Iterable[Any] | None = None,
        status: int = 200,
        request_id: Any = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Send an answer or an event."""
        await self.send_json(
            envelope(
                action,
                data=data,
                errors=errors,
                status=status,
                request_id=request_id,
                extra=extra,
            )
        )

    async def websocket_reply(
        self,
        action: str | None,
        *,
        extra: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Call :meth:`reply`; without ``extra`` if that does not take it."""
        if extra and _takes_extra(type(self).reply):
            await self.reply(action, extra=extra, **given)
        else:
            await self.reply(action, **given)

    async def handle_exception(
        self, exc: Exception, action: str | None, request_id: Any
    ) -> None:
        """Send the error to the client, and log it unless the client caused it."""
        known = as_api_exception(exc)
        if known is None:
            # A name that the client invented does not get into the log.
            own = action in self.available_actions
            what = f"The action {action!r}" if own else "An action or an event"
            log_failure(f"{what} failed.", exc)
            known = exceptions.APIException("Internal server error")
        extra = {"reason": known.default_code} if isinstance(known, TooMany) else None
        told: dict[str, Any] = {"status": known.status_code, "request_id": request_id}
        errors = errors_list(known.detail)
        await self.websocket_reply(action, errors=errors, extra=extra, **told)

    async def refuse_frame(self, error: exceptions.APIException) -> None:
        """Answer a frame that is not valid with an error."""
        await super().refuse_frame(error)
        await self.handle_exception(error, action=None, request_id=None)


@lru_cache(maxsize=256)
def _takes_extra(reply: Callable[..., Any]) -> bool:
    """Return whether a ``reply()`` takes ``extra``; one written for DCRF may not."""
    parameters = inspect.signature(reply).parameters.values()
    return any(p.name == "extra" or p.kind is p.VAR_KEYWORD for p in parameters)
