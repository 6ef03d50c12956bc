"""What only a full run looks at, as ``nox --session full`` runs the tests."""

from __future__ import annotations

import os

import pytest

__all__ = [
    "IS_FULL",
    "for_full_runs",
    "with_and_without_redis",
    "with_redis_or_postgres",
]

IS_FULL = "TURBO_SOAK_SECONDS" in os.environ

for_full_runs = pytest.mark.skipif(not IS_FULL, reason="for full runs")


def _layers(*quick: str) -> pytest.MarkDecorator:
    kinds = ["redis", "pubsub", "sqlite", "postgres"]
    marks = {kind: () if kind in quick else (for_full_runs,) for kind in kinds}
    return pytest.mark.parametrize(
        "layer", [pytest.param(kind, marks=marks[kind]) for kind in kinds]
    )


#: With each kind of channel layer that reaches other processes. A full run takes all of
#: them; otherwise those that take long leave some out.
with_and_without_redis = _layers("redis", "sqlite", "postgres")
with_redis_or_postgres = _layers("redis", "postgres")
