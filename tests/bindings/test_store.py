"""The stores: what is written in any order comes to what was read last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import ReadOnlyError

from tests.bindings.conftest import empty_store
from tests.bindings.worlds import World
from tests.support.full import IS_FULL
from tests.support.replicas import follow, promote, start_pair
from tests.support.servers import PATIENCE, Valkey, wait_until
from turbo.bindings.store import Applied, Listed, Read, Row, Slot, Store, Ticket
from turbo.bindings.store.memory import MemoryStore
from turbo.bindings.store.redis import RedisStore
from turbo.bindings.store.versions import Version
from turbo.database.store import DatabaseStore
from turbo.runtime.redis.clients import Host

PLACES = st.integers(0, 7)

MakeStore = Callable[..., Store]


class Clock:
    """The time of the stores in memory."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def outlast(store: Store, slot: Slot) -> None:
    """Let the tickets that are out grow too old."""
    if isinstance(store, MemoryStore):
        CLOCK.now += store.patience + 1
        return
    patience, store.patience = store.patience, -1.0
    store.abandon(slot, Ticket("another", 1))
    store.patience = patience


@contextmanager
def making_in_database(alias: str) -> Iterator[MakeStore]:
    made: list[DatabaseStore] = []

    def make(**options: float) -> Store:
        empty_store(alias)
        made.append(DatabaseStore(alias=alias, span=1, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    if request.param == "memory":
        yield partial(MemoryStore, clock=CLOCK)
        return
    if request.param != "redis":
        with making_in_database(
            request.getfixturevalue(f"in_{request.param}")
        ) as make_one:
            yield make_one
        return
    valkey: Valkey = request.getfixturevalue("valkey")

    def make(**options: float) -> Store:
        valkey.flush()
        return RedisStore(hosts=[valkey.url], **options)  # type: ignore[arg-type]

    yield make


def rows(*pks: int) -> list[Row]:
    return [Row(str(pk), f"{pk:03d}", f'{{"v":{pk}}}') for pk in pks]


def fill(store: Store, slot: Slot, *pks: int) -> Applied:
    ticket = store.begin(slot, alone=True)
    assert ticket is not None
    applied = store.replace(slot, ticket, rows(*pks))
    assert applied is not None
    return applied


def take(store: Store, slot: Slot, pk: int) -> Ticket:
    [ticket] = store.take([slot], str(pk))
    assert ticket is not None
    return ticket


def write(
    store: Store, slot: Slot, ticket: Ticket, pk: int, value: str
) -> Applied | None:
    row = Row(str(pk), f"{pk:03d}", value)
    return store.apply([(slot, ticket, Read(str(pk), row))])[0]


SLOT = Slot("shop:Products", "8f3c")


def test_nothing_is_kept_at_first(make_store: MakeStore) -> None:
    store = make_store()

    assert store.peek(SLOT) is None
    assert store.read(SLOT) is None
    assert store.row(SLOT, "1") is None
    assert store.take([SLOT], "1") == [None]
    assert store.names([SLOT.group, "other"]) == [[], []]
    assert store.bump(SLOT) is None
    assert store.invalidate(SLOT) is None
    assert store.clear(SLOT) is False


def test_one_fills_and_the_others_wait(make_store: MakeStore) -> None:
    store = make_store()
    ticket = store.begin(SLOT, alone=True)
    assert ticket is not None

    assert store.begin(SLOT, alone=True) is None
    assert store.read(SLOT) is None
    assert store.names(["other", SLOT.group]) == [[], [SLOT.name]]
    assert store.replace(SLOT, ticket, rows(1, 2)) is not None
    assert store.begin(SLOT, alone=True) is None

    contents = store.read(SLOT)
    assert contents is not None
    assert contents.rows == (("1", '{"v":1}'), ("2", '{"v":2}'))
    assert contents.state.version == Version(ticket.epoch, 1)


def test_an_overtaken_write_does_not_stick(make_store: MakeStore) -> None:
    """The one whose ticket is later has read later, and wins."""
    store = make_store()
    fill(store, SLOT, 1)
    early, late = take(store, SLOT, 1), take(store, SLOT, 1)

    second = write(store, SLOT, late, 1, '{"v":"late"}')
    first = write(store, SLOT, early, 1, '{"v":"early"}')

    assert second is not None
    assert second.changes == (
        '{"action":"update","pk":1,"index":0,"value":{"v":"late"}}',
    )
    assert first is not None
    assert first.changes == ()
    found = store.row(SLOT, "1")
    assert found is not None
    assert found[1] == '{"v":"late"}'


def test_a_deleted_row_does_not_come_back(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, SLOT, 1)
    early, late = take(store, SLOT, 1), take(store, SLOT, 1)

    [gone] = store.apply([(SLOT, late, Read("1", None))])
    write(store, SLOT, early, 1, '{"v":"early"}')

    assert gone is not None
    assert gone.changes == ('{"action":"delete","pk":1}',)
    contents = store.read(SLOT)
    assert contents is not None
    assert contents.rows == ()


def test_a_change_during_the_filling_is_not_lost(make_store: MakeStore) -> None:
    store = make_store()
    ticket = store.begin(SLOT, alone=True)
    assert ticket is not None
    read_before = rows(1, 2)
    change = take(store, SLOT, 1)
    write(store, SLOT, change, 1, '{"v":"changed"}')

    store.replace(SLOT, ticket, read_before)

    contents = store.read(SLOT)
    assert contents is not None
    assert contents.rows == (("1", '{"v":"changed"}'), ("2", '{"v":2}'))


def test_changes_lead_from_version_to_version(make_store: MakeStore) -> None:
    store = make_store(length=3)
    first = fill(store, SLOT, 2, 4).version
    for pk in (1, 3, 5):
        write(store, SLOT, take(store, SLOT, pk), pk, '{"v":0}')

    contents = store.read(SLOT, first)
    assert contents is not None
    assert contents.changes == (
        '{"action":"create","pk":1,"index":0,"value":{"v":0}}',
        '{"action":"create","pk":3,"index":2,"value":{"v":0}}',
        '{"action":"create","pk":5,"index":4,"value":{"v":0}}',
    )
    write(store, SLOT, take(store, SLOT, 6), 6, '{"v":0}')
    too_far = store.read(SLOT, first)
    foreign = store.read(SLOT, Version("another", 4))
    future = store.read(SLOT, Version(first.epoch, 99))
    assert too_far is not None
    assert foreign is not None
    assert future is not None
    assert (too_far.changes, foreign.changes, future.changes) == (None, None, None)
    assert len(too_far.rows) == len(foreign.rows) == len(future.rows) == 6


def test_a_lost_writer_makes_it_be_filled_again(make_store: MakeStore) -> None:
    """Whoever takes a ticket and is not heard of again has a change that is missing."""
    store = make_store()
    version = fill(store, SLOT, 1).version
    lost = take(store, SLOT, 1)

    outlast(store, SLOT)

    assert store.peek(SLOT) is None
    assert store.read(SLOT) is None
    assert write(store, SLOT, lost, 1, '{"v":"too late"}') is None
    again = fill(store, SLOT, 1, 2)
    assert again.version == Version(version.epoch, 2)


def test_a_lost_filler_is_replaced(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, SLOT, 1)
    store.invalidate(SLOT)
    lost = store.begin(SLOT, alone=True)
    assert lost is not None

    outlast(store, SLOT)
    fill(store, SLOT, 1)

    assert store.replace(SLOT, lost, rows(7)) is None
    contents = store.read(SLOT)
    assert contents is not None
    assert contents.rows == (("1", '{"v":1}'),)


def test_who_gives_a_ticket_back_leaves_it_to_others(make_store: MakeStore) -> None:
    store = make_store()
    ticket = store.begin(SLOT, alone=True)
    assert ticket is not None

    store.abandon(SLOT, ticket)

    assert store.begin(SLOT, alone=True) is not None


def test_invalidate_overtakes_who_is_filling(make_store: MakeStore) -> None:
    """What is being read may be older than the change that nobody could write."""
    store = make_store()
    ticket = store.begin(SLOT, alone=True)
    assert ticket is not None
    store.invalidate(SLOT)

    store.replace(SLOT, ticket, rows(1))

    assert store.read(SLOT) is None
    fill(store, SLOT, 1)
    assert store.peek(SLOT) is not None


def test_bump_leads_nowhere(make_store: MakeStore) -> None:
    """After it, everybody reads everything."""
    store = make_store()
    version = fill(store, SLOT, 1).version

    bumped = store.bump(SLOT)

    assert bumped is not None
    assert bumped.version == Version(version.epoch, version.number + 1)
    contents = store.read(SLOT, version)
    assert contents is not None
    assert contents.changes is None


def test_clear_begins_a_new_epoch(make_store: MakeStore) -> None:
    store = make_store()
    before = fill(store, SLOT, 1).version

    store.clear(SLOT)

    assert store.names([SLOT.group, "other"]) == [[], []]
    assert fill(store, SLOT, 1).version.epoch != before.epoch


def test_somebody_listens_for_some_time(make_store: MakeStore) -> None:
    store = make_store()
    assert store.listen(SLOT, seconds=1) is None
    fill(store, SLOT, 1)

    def has_listeners() -> bool:
        applied = write(store, SLOT, take(store, SLOT, 1), 1, f'{{"v":{time.time()}}}')
        assert applied is not None
        return applied.has_listeners

    assert not has_listeners()
    store.listen(SLOT, seconds=0.001)
    CLOCK.now += 1
    wait_until(lambda: not has_listeners())
    store.listen(SLOT, seconds=600)
    assert has_listeners()


@pytest.mark.parametrize("part", ["meta", "rows", "order", "slots"])
def test_redis_forgets_what_has_lost_a_part(valkey: Valkey, part: str) -> None:
    """A server that is full may drop any key."""
    store = RedisStore(hosts=[valkey.url])
    before = fill(store, SLOT, 1, 2).version

    with valkey.client() as client:
        [key] = client.keys(f"*:{part}")  # type: ignore[misc]
        client.delete(key)

    assert store.read(SLOT) is None
    assert fill(store, SLOT, 1, 2).version.epoch != before.epoch


def test_redis_forgets_what_another_process_has_kept(valkey: Valkey) -> None:
    """What a restarted server reads from its disk may be older than what it told."""
    store = RedisStore(hosts=[valkey.url])
    fill(store, SLOT, 1)
    with valkey.client() as client:
        [key] = client.keys("*:meta")  # type: ignore[misc]
        client.hset(key, "p", "f" * 40)

    assert store.peek(SLOT) is None


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Valkey, Valkey]]:
    """A master and its replica."""
    servers = start_pair(Valkey, tmp_path)
    yield servers
    for server in servers:
        server.kill()


@pytest.mark.slow
def test_redis_forgets_what_a_failover_and_the_failback_have_kept(
    pair: tuple[Valkey, Valkey],
) -> None:
    """What was written to the former master meanwhile is lost."""
    first, second = pair
    store = RedisStore(hosts=[first.url])
    fill(store, SLOT, 1)
    follow(second, first)

    promote(second)
    write(store, SLOT, take(store, SLOT, 1), 1, '{"v":0}')
    follow(first, second)
    promote(first)

    assert store.peek(SLOT) is None


@pytest.mark.slow
def test_redis_reads_nothing_from_a_replica(pair: tuple[Valkey, Valkey]) -> None:
    """Its rows may be old."""
    fill(RedisStore(hosts=[pair[0].url]), SLOT, 1)
    follow(pair[1], pair[0])
    store = RedisStore(hosts=[pair[1].url])

    for read in (store.peek, store.read):
        with pytest.raises(ReadOnlyError):
            read(SLOT)
    with pytest.raises(ReadOnlyError):
        store.row(SLOT, "1")


def test_redis_keeps_nothing_for_ever(valkey: Valkey) -> None:
    store = RedisStore(hosts=[valkey.url], age=100)
    fill(store, SLOT, 1, 2)
    write(store, SLOT, take(store, SLOT, 1), 1, '{"v":0}')

    with valkey.client() as client:
        lives = [client.ttl(key) for key in client.keys("turbo:*")]  # type: ignore[union-attr]

    assert lives
    assert all(0 < life <= 100 for life in lives)  # type: ignore[operator]


@pytest.mark.parametrize("reader", ["row", "order", "all"])
def test_an_order_read_in_between_does_not_stick(
    make_store: MakeStore, reader: str
) -> None:
    """A row goes there and back; somebody lists it there, and writes that last."""
    store, slot = make_store(), Slot("shop:Products", "8f3c", listed=True)

    def kept(a: int, b: int) -> list[Row]:
        places = sorted([(a, "1"), (b, "2")])
        return [Row(pk, str(place), f'{{"v":{place}}}') for place, pk in places]

    def listed(a: int, b: int) -> list[Listed]:
        return [(row.pk, row.key) for row in kept(a, b)]

    ticket = store.begin(slot, alone=True)
    assert ticket is not None
    store.replace(slot, ticket, kept(1, 2))
    # Somebody reads while the first row stands behind the second.
    if reader == "row":
        slow, row = take(store, slot, 2), Row("2", "2", '{"v":2,"changed":1}')
    elif reader == "all":
        slow = store.begin(slot, alone=False)  # type: ignore[assignment]
    else:
        [applied] = store.apply(
            [(slot, take(store, slot, 2), Read("2", Row("2", "new", "{}")))]
        )
        assert applied is not None
        assert applied.reorder is not None
        slow = applied.reorder
    # It has gone back, and who has moved it finds it where it was listed.
    back = Row("1", "1", '{"v":1}')
    [unmoved] = store.apply([(slot, take(store, slot, 1), Read("1", back))])

    if reader == "row":
        [last] = store.apply([(slot, slow, Read("2", row, listed(3, 2)))])
    elif reader == "all":
        last = store.replace(slot, slow, kept(3, 2))
    else:
        last = store.reorder(slot, slow, listed(3, 2))

    assert unmoved is not None
    assert unmoved.reorder is None
    assert last is not None
    assert last.reorder is not None
    store.reorder(slot, last.reorder, listed(1, 2))
    contents = store.read(slot)
    assert contents is not None
    assert [pk for pk, _ in contents.rows] == ["1", "2"]


def machine(make: Callable[[], World]) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.world = make()
            self.world.fill(alone=True)
            self.world.step(0)

        @rule(pk=st.integers(1, 3), value=st.none() | st.integers(0, 2))
        def commit(self, pk: int, value: int | None) -> None:
            self.world.commit(pk, value)

        @rule(pk=st.integers(1, 3), value=st.integers(0, 2), times=st.integers(0, 4))
        def hurry(self, pk: int, value: int, times: int) -> None:
            self.world.commit(pk, value)
            for _ in range(times):
                self.world.step(-1)

        @rule(place=PLACES, times=st.integers(1, 6))
        def step(self, place: int, times: int) -> None:
            for _ in range(times):
                self.world.step(place)

        @rule(place=PLACES, times=st.integers(1, 6))
        def step_back(self, place: int, times: int) -> None:
            for _ in range(times):
                self.world.step(-1 - place)

        @rule(alone=st.booleans())
        def fill(self, alone: bool) -> None:
            self.world.fill(alone=alone)

        @rule()
        def follow(self) -> None:
            self.world.follow()

        @rule(what=st.integers(0, 9), place=PLACES)
        def rarely(self, what: int, place: int) -> None:
            store, slot = self.world.store, self.world.slot
            if what == 0:
                self.world.crash(place)
            elif what == 1:
                store.invalidate(slot)
            elif what == 2:
                store.bump(slot)
            elif what == 3:
                self.world.settle()

        def teardown(self) -> None:
            if hasattr(self, "world"):
                self.world.settle()

    return Machine


@pytest.mark.parametrize("kind", ["sorted", "listed", "unkeyed"])
def test_any_order_of_steps_comes_to_what_the_database_has(
    make_store: MakeStore, kind: str
) -> None:
    """Also with writers that are lost, and for a client that follows every change."""

    def make() -> World:
        return World(make_store(length=20), kind=kind, outlast=outlast)

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(make),
        settings=settings(
            max_examples=_examples(make_store()),
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _examples(store: Store) -> int:
    """Return how many a quick run has time for."""
    if isinstance(store, MemoryStore):
        return 150
    return 25 if IS_FULL or isinstance(store, RedisStore) else 8


def test_a_host_that_is_left_behind_closes_its_connections(valkey: Valkey) -> None:
    with valkey.client() as client:
        others = valkey.connections(client)
        host = Host({"address": valkey.url}, timeout=PATIENCE)
        host.execute("PING")
        assert not valkey.connections(client) <= others

        del host

        wait_until(lambda: valkey.connections(client) <= others)
