"""Check permissions for events, for several events of one client at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from turbo import metrics
from turbo.observers.asking_in_turn import ask_now, in_turn_of
from turbo.observers.events.row_subscription import RowEvent, RowSubscription, gone_text
from turbo.observers.events.shared_query import ListQuery
from turbo.observers.permissions import about_event, adapt
from turbo.runtime.threads import in_turns

__all__ = ["without_refused"]


@dataclass(frozen=True, slots=True)
class EventRefusal:
    """Why an event is not sent; ``of_object`` if a permission refused its object."""

    error: Exception
    of_object: bool = False


#: Refusals of events, by the ``id()`` of the event.
RefusedEvents: TypeAlias = dict[int, EventRefusal]


async def without_refused(events: Sequence[RowEvent]) -> list[RowEvent]:
    """
    Return those events of a client that may be sent.

    For a refused event the client gets only the error. If the client may not even
    subscribe any more, its subscription ends. A list shows no refused objects: when one
    is refused, the client gets ``delete`` or nothing.
    """
    with about_event():
        refused = await _refusals(events)
    told: list[RowEvent | None] = []
    for event in events:
        refusal = refused.get(id(event))
        of_list = isinstance(event.subscription.query, ListQuery)
        if of_list and (refusal is None or refusal.of_object):
            told.append(_of_list(event, refused=refusal is not None))
        elif refusal is None:
            told.append(event)
        elif event.subscription.active:
            await _end_if_revoked(
                event.subscription, None if of_list else event.instance
            )
            event.subscription.refuse(refusal.error, event.action)
    return [event for event in told if event is not None]


def _of_list(event: RowEvent, *, refused: bool) -> RowEvent | None:
    """Return the event as a client sees it whose list hides refused objects."""
    hidden, key = event.subscription.hidden, event.key
    was_hidden = key in hidden
    if refused:
        hidden.add(key)
        if was_hidden or event.action == "create":
            return None
        return replace(event, action="delete", text=gone_text(key))
    hidden.discard(key)
    if not was_hidden:
        return event
    return None if event.action == "delete" else replace(event, action="create")


async def _end_if_revoked(subscription: RowSubscription, instance: Any) -> None:
    """End a subscription that the client could not make now."""
    if subscription.active and await _error_of_call(subscription, instance):
        subscription.consumer.subscriptions.discard(subscription)
        metrics.count("revoked")


async def _error_of_call(
    subscription: RowSubscription, instance: Any
) -> Exception | None:
    """Return the error that the client would get if it subscribed now."""
    consumer, action, arguments = (
        subscription.consumer,
        subscription.call.action,
        subscription.call.arguments,
    )
    try:
        await consumer.check_permissions(action, **arguments)
        if instance is not None:
            check = consumer.check_object_permissions
            await in_turn_of(consumer, check, instance, action, **arguments)
    except Exception as error:
        return error
    return None


async def _refusal_of_own(event: RowEvent) -> EventRefusal | None:
    """Return the refusal of a consumer that checks permissions with its own methods."""
    consumer, arguments = event.subscription.consumer, event.subscription.call.arguments
    action, instance = event.action, event.instance
    of_object = False
    try:
        await consumer.check_permissions(action, event=True, **arguments)
        if instance is not None:
            of_object = True
            check, about = consumer.check_object_permissions, (instance, action)
            await in_turn_of(consumer, check, *about, event=True, **arguments)
    except Exception as error:
        return _refusal(error, of_object=of_object)
    return None


def _refusal(error: Exception, *, of_object: bool) -> EventRefusal:
    return EventRefusal(error, of_object and isinstance(error, _DENIED))


_DENIED = (PermissionDenied, DjangoPermissionDenied, Http404)


async def _refusals(events: Sequence[RowEvent]) -> RefusedEvents:
    """Return the refused events; all plain methods are called in one thread."""
    refused: RefusedEvents = {}
    for_thread: list[Question] = []
    for event in events:
        consumer = event.subscription.consumer
        if not event.subscription.active:
            continue
        if consumer.asks_itself():
            if (refusal := await _refusal_of_own(event)) is not None:
                refused[id(event)] = refusal
            continue
        permissions = await consumer.get_permissions(event.action)
        for question in _questions(event, permissions):
            if not inspect.iscoroutinefunction(question.method):
                for_thread.append(question)
            elif id(event) not in refused:
                await _take_async(question, refused)
    if for_thread:
        owner = for_thread[0].event.subscription.consumer.visitor.budget.owner
        await in_turns(owner, [partial(_take, each, refused) for each in for_thread])
    return refused


@dataclass(frozen=True, slots=True)
class Question:
    """A call of one permission's method for one event, or for its object."""

    event: RowEvent
    message: str | None
    method: Any
    about: tuple[Any, ...]
    of_object: bool = False

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.event.subscription.call.arguments

    def take(self, refused: RefusedEvents, error: Exception | None = None) -> None:
        error = error or PermissionDenied(self.message)
        refused[id(self.event)] = _refusal(error, of_object=self.of_object)


def _questions(event: RowEvent, permissions: Iterable[Any]) -> Iterator[Question]:
    consumer = event.subscription.consumer
    about = (consumer.scope, consumer, event.action)
    for permission in map(adapt, permissions):
        yield Question(event, permission.message, permission.has_permission, about)
        if event.instance is not None and permission.asks_objects():
            method = permission.has_object_permission
            about_object = (*about, event.instance)
            yield Question(event, permission.message, method, about_object, True)


async def _take_async(question: Question, refused: RefusedEvents) -> None:
    about, arguments = question.about, question.arguments
    try:
        answer = await question.method(*about, event=True, **arguments)
    except Exception as error:
        question.take(refused, error)
    else:
        if not answer:
            question.take(refused)


def _take(question: Question, refused: RefusedEvents) -> None:
    if id(question.event) in refused or not question.event.subscription.active:
        return
    about, arguments = question.about, question.arguments
    try:
        with about_event():
            answer = ask_now(question.method, *about, event=True, **arguments)
    except Exception as error:
        question.take(refused, error)
    else:
        if not answer:
            question.take(refused)
