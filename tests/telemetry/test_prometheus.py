"""What Prometheus is told is what the process has counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from turbo import metrics
from turbo.telemetry.latency import BOUNDS, latency
from turbo.telemetry.prometheus import TurboCollector


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    latency.clear()
    registry = CollectorRegistry()
    registry.register(TurboCollector())
    yield registry
    latency.clear()


def exposed(registry: CollectorRegistry) -> dict[str, tuple[str, float]]:
    """Return the type and the value of each sample that has no labels."""
    text = generate_latest(registry).decode()
    return {
        sample.name: (family.type, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def test_every_counter_and_gauge_is_exposed(registry: CollectorRegistry) -> None:
    metrics.count("refused", 3)

    found, values = exposed(registry), metrics.counters()

    for name in metrics.NAMES:
        assert found[f"turbo_{name}_total"] == ("counter", values[name])
    for name in metrics.GAUGES:
        assert found[f"turbo_{name}"] == ("gauge", values[name])
    assert not [name for name in found if "commit_to_socket" in name]


def test_times_are_a_histogram(registry: CollectorRegistry) -> None:
    for seconds in (0.0005, 0.002, 0.002, 60.0):
        latency.add(seconds)

    name = "turbo_commit_to_socket_seconds"
    (family,) = (family for family in registry.collect() if family.name == name)
    samples = {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.name == f"{name}_bucket"
    }

    assert family.type == "histogram"
    assert list(samples) == [*map(str, BOUNDS), "+Inf"]
    assert (samples["0.001"], samples["0.0025"], samples["10.0"]) == (1, 3, 3)
    assert samples["+Inf"] == registry.get_sample_value(f"{name}_count") == 4
    assert registry.get_sample_value(f"{name}_sum") == pytest.approx(60.0045)
