"""The observed models, whose changes are sent to the clients of consumers."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Model

from turbo.changes import ModelChange, Watch, watch
from turbo.delivery.broadcast import broadcast
from turbo.observers.wire.notice import ChangeNotice, instance_stream, model_stream
from turbo.runtime.discovery import Home, declared
from turbo.runtime.forks import Lock

__all__ = [
    "HOME",
    "observe_instances",
    "observe_lists",
    "observes_instances",
    "observes_lists",
]


#: Where consumers with observers belong.
HOME = Home(app="turbo.observers", module="consumers")


@dataclass(slots=True)
class _Source:
    """One watched model, and the kinds of streams that its changes go to."""

    watch: Watch | None = None
    instances: bool = False
    lists: bool = False


_sources: dict[type[Model], _Source] = {}
_lock = Lock()  # owns _sources


def observe_instances(model: type[Model], consumer: type) -> None:
    """Broadcast each change of ``model``, made in any process, to its row's stream."""
    declared(consumer, HOME)
    _source(model).instances = True


def observe_lists(model: type[Model], consumer: type) -> None:
    """Broadcast each change of ``model`` to the stream of the model."""
    declared(consumer, HOME)
    _source(model).lists = True


def observes_instances(model: type[Model]) -> bool:
    """Return whether changes are broadcast to the streams of rows."""
    source = _sources.get(model._meta.concrete_model or model)
    return source is not None and source.instances


def observes_lists(model: type[Model]) -> bool:
    """Return whether changes are broadcast to the stream of the model."""
    source = _sources.get(model._meta.concrete_model or model)
    return source is not None and source.lists


def _source(model: type[Model]) -> _Source:
    model = model._meta.concrete_model or model
    with _lock:
        source = _sources.setdefault(model, _Source())
        if source.watch is None:
            source.watch = watch(model, _changed)
    return source


def _changed(change: ModelChange) -> None:
    source = _sources[change.model]
    message = ChangeNotice.of(change).pack()
    if source.instances:
        broadcast(instance_stream(change.model, change.pk, change.using), message)
    if source.lists:
        broadcast(model_stream(change.model, change.using), message)
