"""What subscribers say about where they stand, and what the server makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbo.replay.positions import Moment, Position, bounded, earliest, parse

EARLY, LATE = "@17.1f0c", "@23.1f0c"


@pytest.mark.parametrize(
    ("since", "floor", "expected"),
    [
        ("", EARLY, ""),
        (EARLY, LATE, LATE),
        (LATE, EARLY, LATE),
        ("k3:8", LATE, "k3:8@23.1f0c"),
        ("k3:8@17.1f0c", LATE, "k3:8@23.1f0c"),
        ("?", EARLY, "?"),
        ("@5.other", EARLY, "?"),
        ("k3:8", "?", "?"),
        ("k3:8", "", "?"),
        ("@5.1f0c", "@", "?"),
    ],
)
def test_bounded(since: str, floor: str, expected: str) -> None:
    assert bounded(since, floor) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([LATE, EARLY], EARLY),
        (["k3:8", "k3:5"], "k3:5"),
        (["k3:8@17.1f0c", "k3:5@23.1f0c"], "k3:5@17.1f0c"),
        (["k3:8", "x0:5"], "?"),
        ([EARLY, "@5.other"], "?"),
        (["k3:8@17.1f0c", "k3:5@23.other"], "?"),
        (["k3:8@17.1f0c", "k3:5"], "?"),
        ([EARLY, "k3:5"], "?"),
        (["?", EARLY], "?"),
    ],
)
def test_earliest(places: list[str], expected: str) -> None:
    assert earliest(places) == expected


PLACES = st.one_of(
    st.builds(lambda e, n: f"{e}:{n}", st.sampled_from("ab"), st.integers(0, 30)),
    st.builds(lambda n, h: f"@{n}.{h}", st.integers(0, 30), st.sampled_from("xy")),
    st.builds(lambda n, m: f"a:{n}@{m}.x", st.integers(0, 30), st.integers(0, 30)),
    st.text(max_size=8),
)


@given(since=PLACES, floor=st.builds(lambda n: f"@{n}.x", st.integers(0, 30)))
def test_nothing_that_is_said_reaches_below_the_floor(since: str, floor: str) -> None:
    lowest, place = parse(floor), parse(bounded(since, floor))

    assert isinstance(lowest, Moment)
    if isinstance(place, Position):
        assert place.floor == lowest
    elif place is not None:
        assert place.hosts == lowest.hosts
        assert place.time >= lowest.time


@given(st.lists(PLACES, min_size=1, max_size=4))
def test_nothing_that_is_asked_for_is_left_out(places: list[str]) -> None:
    """The earliest is before each of them, or says that nothing can be proved."""
    first = parse(earliest(places))

    for place in map(parse, places):
        if isinstance(first, Moment):
            assert isinstance(place, Moment)
            assert first.hosts == place.hosts
            assert first.time <= place.time
        elif first is not None:
            assert isinstance(place, Position)
            assert first.epoch == place.epoch
            assert first.number <= place.number
