"""What happens is counted, and those who want to know are told."""

from __future__ import annotations

from turbo import metrics


def test_counters_hold_every_name_and_add_up() -> None:
    before = metrics.counters()

    metrics.count("gaps")
    metrics.count("gaps", 2)

    assert set(metrics.NAMES) <= set(before)
    assert metrics.counters()["gaps"] == before["gaps"] + 3


def test_every_gauge_is_there_whether_anybody_serves_or_not() -> None:
    assert set(metrics.GAUGES) <= set(metrics.counters())


def test_a_gauge_is_read_when_asked() -> None:
    values = iter([1, 2])
    metrics.gauge("test", lambda: next(values))

    try:
        assert metrics.counters()["test"] == 1
        assert metrics.counters()["test"] == 2
    finally:
        del metrics._gauges["test"]


def test_the_signal_tells_each_count_and_survives_a_bad_receiver() -> None:
    heard: list[tuple[str, int]] = []

    def receiver(name: str, value: int, **kwargs: object) -> None:
        heard.append((name, value))
        raise ValueError("a client that is broken")

    metrics.counted.connect(receiver)
    try:
        metrics.count("dropped", 4)
    finally:
        metrics.counted.disconnect(receiver)

    assert heard == [("dropped", 4)]


def test_details_go_with_the_signal() -> None:
    heard: list[dict[str, object]] = []

    def receiver(name: str, value: int, **details: object) -> None:
        heard.append({"name": name, "value": value, "sid": details["sid"]})

    metrics.counted.connect(receiver)
    try:
        metrics.count("gaps", 2, sid="abc")
    finally:
        metrics.counted.disconnect(receiver)

    assert heard == [{"name": "gaps", "value": 2, "sid": "abc"}]
