"""A tracer in this process, with the SDK behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from turbo.runtime import tracing


@pytest.fixture
def exporter() -> Iterator[Any]:
    """The spans of this process, while telemetry is on."""
    site = pytest.importorskip("tests.telemetry.site")
    spans = pytest.importorskip("turbo.telemetry.spans")
    site.exporter.clear()
    tracing.install(spans.SpanTracer())
    yield site.exporter
    tracing.install(None)
