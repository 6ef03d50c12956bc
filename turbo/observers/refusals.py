"""Asking permissions for events, for many clients at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from channels.db import database_sync_to_async
from rest_framework.exceptions import PermissionDenied

from turbo import metrics
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.observers.permissions import about_event, adapt
from turbo.observers.seats import Seat, Telling

__all__ = ["without_refused"]

#: Refused events by their ``id()``, each with the error that says why.
Refused: TypeAlias = "dict[int, tuple[Telling, Exception]]"


async def without_refused(tellings: Sequence[Telling]) -> list[Telling]:
    """
    Return those events that may be told.

    Who is refused gets the error and nothing else; and if by now they might not even
    subscribe, the subscription ends.
    """
    asked = [telling for telling in tellings if telling.seat.view.asks]
    if not asked:
        return list(tellings)
    with about_event():
        refused = await _refusals(asked)
    for telling, error in refused.values():
        if not telling.seat.active:
            continue
        await _end_if_revoked(telling.seat, telling.instance)
        telling.seat.refuse(error, telling.action)
    return [telling for telling in tellings if id(telling) not in refused]


async def _end_if_revoked(seat: Seat, instance: Any) -> None:
    """End a subscription that would be refused if it were asked for now."""
    if seat.active and await _error_of_call(seat, instance):
        seat.consumer.subscriptions.discard(seat)
        metrics.count("revoked")


async def _error_of_call(seat: Seat, instance: Any) -> Exception | None:
    """Return the error that the client would get for its subscription now, if any."""
    consumer, action, arguments = seat.consumer, seat.call.action, seat.call.arguments
    try:
        await consumer.check_permissions(action, **arguments)
        if instance is not None:
            check = database_sync_to_async(consumer.check_object_permissions)
            await check(instance, action=action, **arguments)
    except Exception as error:
        return error
    return None


async def _error_of_event(telling: Telling) -> Exception | None:
    """Return the error that a ``check_permissions()`` of the project's own raises."""
    consumer, arguments = telling.seat.consumer, telling.seat.call.arguments
    action, instance = telling.action, telling.instance
    try:
        await consumer.check_permissions(action, event=True, **arguments)
        if instance is not None:
            check = database_sync_to_async(consumer.check_object_permissions)
            await check(instance, action=action, event=True, **arguments)
    except Exception as error:
        return error
    return None


async def _refusals(tellings: Sequence[Telling]) -> Refused:
    """Return the refused events; questions for threads share one."""
    refused: Refused = {}
    for_thread: list[Question] = []
    for telling in tellings:
        consumer = telling.seat.consumer
        if type(consumer).check_permissions is not AsyncAPIConsumer.check_permissions:
            if (error := await _error_of_event(telling)) is not None:
                refused[id(telling)] = telling, error
            continue
        permissions = await consumer.get_permissions(telling.action)
        for question in _questions(telling, permissions):
            if not inspect.iscoroutinefunction(question.method):
                for_thread.append(question)
            elif id(telling) not in refused:
                await _take_async(question, refused)
    if for_thread:
        await database_sync_to_async(_take_all)(for_thread, refused)
    return refused


@dataclass(frozen=True, slots=True)
class Question:
    """What one permission is asked about one event."""

    telling: Telling
    message: str | None
    method: Any
    about: tuple[Any, ...]

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.telling.seat.call.arguments

    @property
    def refusal(self) -> tuple[Telling, Exception]:
        return self.telling, PermissionDenied(self.message)


def _questions(telling: Telling, permissions: Iterable[Any]) -> Iterator[Question]:
    consumer = telling.seat.consumer
    about = (consumer.scope, consumer, telling.action)
    for permission in map(adapt, permissions):
        yield Question(telling, permission.message, permission.has_permission, about)
        if telling.instance is not None and permission.asks_objects():
            method = permission.has_object_permission
            about_object = (*about, telling.instance)
            yield Question(telling, permission.message, method, about_object)


async def _take_async(question: Question, refused: Refused) -> None:
    try:
        answer = await question.method(
            *question.about, event=True, **question.arguments
        )
    except Exception as error:
        refused[id(question.telling)] = question.telling, error
    else:
        if not answer:
            refused[id(question.telling)] = question.refusal


def _take_all(questions: Iterable[Question], refused: Refused) -> None:
    for question in questions:
        if id(question.telling) in refused:
            continue
        try:
            answer = question.method(*question.about, event=True, **question.arguments)
        except Exception as error:
            refused[id(question.telling)] = question.telling, error
        else:
            if not answer:
                refused[id(question.telling)] = question.refusal
