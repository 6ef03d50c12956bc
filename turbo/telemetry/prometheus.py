"""
The counters and gauges of this process for ``prometheus_client``.

Nothing else imports this module, and it does not need the app::

    from prometheus_client import REGISTRY
    from turbo.telemetry.prometheus import TurboCollector

    REGISTRY.register(TurboCollector())
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from turbo.metrics import GAUGES, NAMES, counters
from turbo.telemetry.latency import BOUNDS, latency

__all__ = ["TurboCollector"]


class TurboCollector(Collector):
    """
    Collect ``turbo_published_total``, ``turbo_queue`` and so on when they are scraped.

    The histogram ``turbo_commit_to_socket_seconds`` is there if the app
    ``turbo.telemetry`` has measured anything.
    """

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this process."""
        values = counters()
        for name, meaning in NAMES.items():
            yield CounterMetricFamily(f"turbo_{name}", _text(meaning), values[name])
        for name, meaning in GAUGES.items():
            yield GaugeMetricFamily(f"turbo_{name}", _text(meaning), values[name])
        measured = latency.read()
        if measured.total:
            bounds = [*map(str, BOUNDS), "+Inf"]
            counts = [*measured.counts, measured.total]
            yield HistogramMetricFamily(
                "turbo_commit_to_socket_seconds",
                "Time from a commit to the sockets of this process.",
                buckets=list(zip(bounds, counts, strict=True)),
                sum_value=measured.seconds,
            )

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics; none is read twice when the collector is registered."""
        return self.collect()


def _text(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."
