"""What the faults of ``benchmarks/faults`` count as lost, doubled and out of order."""

from __future__ import annotations

from benchmarks.faults.records import Place, Record, Result, Writer, compare


def page(*events: str) -> Record:
    """Return a record: ``"5! a1 a2 20!"`` is a reset at 5 s, two messages, a reset."""
    record, number = Record(stream=0), 0
    for event in " ".join(events).split():
        if event.endswith("!"):
            record.reset(float(event[:-1]), Place("e", number))
        else:
            number += 1
            record.show(Place("e", number), event[0], int(event[1:]))
    return record


def writer(name: str, count: int, *, killed: bool = False) -> Writer:
    """Return a writer that hands over a message at 10 s, 11 s and so on."""
    times = {number: 9.0 + number for number in range(1, count + 1)}
    return Writer(name, {0: times}, killed=killed)


def numbers(result: Result) -> tuple[int, int, int, int]:
    return result.lost, result.doubled, result.disordered, result.different


def test_what_came_in_order_is_right() -> None:
    result = compare([writer("a", 2), writer("b", 1)], [page("0! a1 b1 a2")])

    assert (result.sent, result.shown, result.violations) == (3, 3, 0)


def test_a_page_needs_nothing_from_before_its_last_reset() -> None:
    """It has loaded itself again, so its view has read what was handed over before."""
    result = compare([writer("a", 3)], [page("0! a1 11.5! a3")])

    assert (result.gaps, result.violations) == (1, 0)


def test_what_is_missing_after_the_last_reset_is_lost() -> None:
    assert numbers(compare([writer("a", 3)], [page("0! a1 a2")])) == (1, 0, 0, 0)
    assert numbers(compare([writer("a", 3)], [page("0! a1 a2 a3 10.5!")])) == (
        *(2, 0, 0, 0),
    )
    assert numbers(compare([writer("a", 1)], [page("0!")])) == (1, 0, 0, 0)


def test_another_stream_is_of_no_concern() -> None:
    elsewhere = Writer("b", {1: {1: 20.0}})

    assert compare([writer("a", 1), elsewhere], [page("0! a1")]).violations == 0


def test_the_queue_that_died_with_its_writer_is_not_lost() -> None:
    """What another page or the log has of it was stored, so it is needed."""
    dead = writer("a", 3, killed=True)

    assert compare([dead], [page("0! a1 a2")]).unsent == 1
    assert compare([dead], [page("0! a1 a2")]).violations == 0
    assert compare([dead], [page("0! a1 a2 a3"), page("0! a1 a2")]).lost == 1
    log = {(0, Place("e", 3)): ("a", 3)}
    assert compare([dead], [page("0! a1 a2")], log).lost == 1


def test_the_same_message_twice_is_doubled() -> None:
    result = compare([writer("a", 2)], [page("0! a1 a2 a1")])

    assert numbers(result) == (0, 1, 0, 0)


def test_after_a_reset_a_message_may_come_again() -> None:
    """The library replays too much rather than too little."""
    result = compare([writer("a", 2)], [page("0! a1 a2 30! a1 a2")])

    assert (result.again, result.violations) == (2, 0)


def test_an_older_message_after_a_newer_one_is_out_of_order() -> None:
    result = compare([writer("a", 3)], [page("0! a1 a3 a2")])

    assert numbers(result) == (0, 0, 1, 0)


def test_a_position_that_is_skipped_is_lost() -> None:
    """Also if what was there was handed over before the reset."""
    record = page("30! a1")
    record.show(Place("e", 3), "a", 3)

    assert numbers(compare([writer("a", 3)], [record])) == (1, 0, 0, 0)


def test_an_epoch_that_changes_without_a_reset_is_a_loss() -> None:
    record = page("30! a1")
    record.show(Place("f", 1), "a", 2)

    assert numbers(compare([writer("a", 2)], [record])) == (1, 0, 0, 0)


def test_pages_and_the_log_agree_on_each_position() -> None:
    other = page("30! b1")
    log = {(0, Place("e", 1)): ("c", 1)}

    assert compare([], [page("30! a1"), other]).different == 1
    assert compare([], [other], log).different == 1
