"""
Measure what following a model adds to mass deletes and mass saves.

All kinds of models are measured in turn, beside one with receivers that do nothing. The
figures are processor time of the calling thread, which other load hardly affects. The
database is SQLite in a file and the model has no other relations, so the share of
Django and the database is as small as it can be.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from django.db import connection, models, transaction
from django.db.models.signals import post_delete, post_save

import turbo
from tests.testapp.models import Board
from turbo.changes import watch
from turbo.observers import GenericAsyncAPIConsumer, model_observer

ROWS = 10_000
ROUNDS = 3

Seconds: TypeAlias = dict[str, list[tuple[float, float]]]


def nothing(**kwargs: Any) -> None:
    """Receive a signal and do nothing."""


def with_empty_receivers(model: Any) -> None:
    post_delete.connect(nothing, sender=model)
    post_save.connect(nothing, sender=model)


def watched(model: Any) -> None:
    watch(model, lambda change: None)


def stream(**options: Any) -> Callable[[Any], None]:
    def declare(model: Any) -> None:
        meta = type("Meta", (), {"model": model, "app_label": "costs", **options})
        type(turbo.ModelStream)(
            f"{model.__name__}Stream", (turbo.ModelStream,), {"Meta": meta}
        )

    return declare


def observed_by_board(model: Any) -> None:
    @model_observer(model)
    async def activity(self: Any, message: Any, **kwargs: Any) -> None:
        """Receive an event and do nothing."""

    @activity.groups_for_signal
    def activity(self: Any, instance: Any, **kwargs: Any) -> Iterator[str]:
        yield f"board-{instance.board_id}"

    type("Consumer", (GenericAsyncAPIConsumer,), {"activity": activity})


#: What is declared for each model, and how many times as long its delete may take.
KINDS: dict[str, tuple[Callable[[Any], None], float]] = {
    "Empty": (with_empty_receivers, 1),
    "Watched": (watched, 4),
    "Refreshes": (stream(refreshes=True), 6),
    "BroadcastsTo": (stream(broadcasts_to="board", template="testapp/hello.html"), 9),
    "Both": (stream(refreshes=True, broadcasts_to="board"), 7),
    "ObservedByGroup": (observed_by_board, 8),
}


def make(name: str) -> Any:
    meta = type("Meta", (), {"app_label": "testapp"})
    fields = {
        "board": models.ForeignKey(Board, models.CASCADE, related_name="+"),
        "title": models.CharField(max_length=100),
        "text": models.TextField(default="text"),
        "number": models.IntegerField(default=0),
    }
    body = {"__module__": __name__, "Meta": meta, **fields}
    model = type(models.Model)(f"Row{name}", (models.Model,), body)
    with connection.schema_editor() as editor:
        editor.create_model(model)
    return model


def took(work: Callable[[], Any]) -> float:
    gc.collect()
    started = time.thread_time()
    work()
    return time.thread_time() - started


def save_all(model: Any) -> None:
    with transaction.atomic():
        for row in list(model.objects.all()):
            row.save()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("declaring")
def test_10000_saves_and_deletes() -> None:
    board = Board.objects.create(name="Work")
    kinds = {name: make(name) for name in KINDS}
    for name, model in kinds.items():
        KINDS[name][0](model)
    seconds: Seconds = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, model in kinds.items():
            model.objects.bulk_create([model(board=board) for _ in range(ROWS)])
            save = took(lambda model=model: save_all(model))
            turbo.flush(60)
            delete = took(model.objects.all().delete)
            turbo.flush(60)
            seconds[name].append((save, delete))
    for model in kinds.values():
        with connection.schema_editor() as editor:
            editor.delete_model(model)

    slow = {}
    empty = [min(times) for times in zip(*seconds["Empty"], strict=True)]
    for name, rounds in seconds.items():
        best = [min(times) for times in zip(*rounds, strict=True)]
        save, delete = (b / e for b, e in zip(best, empty, strict=True))
        print(
            f"{name:16} save {best[0] * 1e6 / ROWS:5.0f} µs a row, {save:4.1f} times; "
            f"delete {best[1] * 1e6 / ROWS:5.0f} µs, {delete:4.1f} times"
        )
        if delete > KINDS[name][1]:
            slow[name] = delete
    assert slow == {}
