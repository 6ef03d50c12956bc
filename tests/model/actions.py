"""
What can happen to a simulated site: its own work, and faults.

A history is a list of actions. Each of them is a plain value that shows itself as the
code that makes it, so what a search prints can be put into a test as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.model.site import STREAMS, Site
from tests.support.simulation.network import Network
from tests.support.simulation.process import Process

__all__ = ["Action", "histories"]

#: Which packets are lost: from the process to Redis, from Redis to it, or both.
Way: TypeAlias = Literal["out", "in", "both"]


class Action(Protocol):
    """Something that happens."""

    def act(self, site: Site) -> None:
        """Let it happen."""


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    seconds: float

    def act(self, site: Site) -> None:
        site.clock.run(self.seconds)


@dataclass(frozen=True)
class Write:
    """
    A process commits new versions of a row, and broadcasts each after ``pause``.

    With a pause this happens in a thread of its own, which others may overtake.
    Without a row it sends elements that overwrite nothing.
    """

    process: int
    stream: int
    row: int | None = 0
    count: int = 1
    pause: float = 0.0
    large: bool = False

    def act(self, site: Site) -> None:
        process = site.processes[self.process]
        thread = len(site.history) if self.pause else 0
        for _ in range(self.count):
            site.write(
                process,
                STREAMS[self.stream],
                self.row,
                thread=thread,
                pause=self.pause,
                large=self.large,
            )


@dataclass(frozen=True)
class Cut:
    """Packets between a process and Redis are lost."""

    process: int
    way: Way = "both"

    def act(self, site: Site) -> None:
        for source, target in ways(site, site.processes[self.process], self.way):
            site.network.block(source, target)


@dataclass(frozen=True)
class Mend:
    """Packets pass again; what was lost is sent again after some time."""

    process: int
    resend: float = 0.3

    def act(self, site: Site) -> None:
        for source, target in ways(site, site.processes[self.process], "both"):
            site.network.unblock(source, target, resend=self.resend)


def ways(site: Site, process: Process, way: Way) -> list[tuple[str, str]]:
    out = [(process.name, server.name) for server in site.redis]
    back = [(target, source) for source, target in out]
    return {"out": out, "in": back, "both": [*out, *back]}[way]


@dataclass(frozen=True)
class Reset:
    """All connections of a process to Redis end."""

    process: int

    def act(self, site: Site) -> None:
        network: Network = site.network
        for connection in network.of(site.processes[self.process].name):
            connection.reset()


@dataclass(frozen=True)
class Restart:
    """Redis is killed, and comes back with all its data, with older ones, or empty."""

    keeps: Literal["all", "saved", "none"] = "all"
    after: float = 0.0
    loading: float = 0.0

    def act(self, site: Site) -> None:
        server = site.master
        if server.is_up:
            server.stop()
            site.clock.run(self.after)
            server.start(keeps=self.keeps, loading=self.loading)


@dataclass(frozen=True)
class Save:
    """Redis writes its data to the disk."""

    def act(self, site: Site) -> None:
        site.master.save()


@dataclass(frozen=True)
class Failover:
    """
    The replica becomes the master, without the last writes; the old master follows it.

    The address leads to the new master. The connections to the old one end, or they
    stay, which goes on as a master for some seconds.
    """

    lost: int = 0
    drops: bool = True
    split: float = 0.0

    def act(self, site: Site) -> None:
        site.fail_over(lost=self.lost, drops=self.drops, split=self.split)


@dataclass(frozen=True)
class Forget:
    """Redis forgets groups, what waits in channels, or which process shows what."""

    what: Literal["groups", "messages", "routes"] = "groups"

    def act(self, site: Site) -> None:
        parts = {
            "groups": b"asgi:group:",
            "messages": b"asgispecific",
            "routes": b":shown",
        }
        site.forget(parts[self.what])


@dataclass(frozen=True)
class Kill:
    """A process is killed, and another one takes its place."""

    process: int

    def act(self, site: Site) -> None:
        site.kill(site.processes[self.process])


@dataclass(frozen=True)
class Pause:
    """A process is stopped, as by SIGSTOP."""

    process: int

    def act(self, site: Site) -> None:
        site.processes[self.process].pause()


@dataclass(frozen=True)
class Resume:
    """A stopped process goes on."""

    process: int

    def act(self, site: Site) -> None:
        site.processes[self.process].go_on()


@dataclass(frozen=True)
class Browser:
    """A page is suspended, shown again, left, opened, or stops or begins to read."""

    page: int
    does: Literal["sleep", "wake", "leave", "open", "stall", "read"]

    def act(self, site: Site) -> None:
        getattr(site.pages[self.page], self.does)()


@dataclass(frozen=True)
class Slow:
    """A page reads so many bytes in a second from now on."""

    page: int
    rate: float = 1_500.0

    def act(self, site: Site) -> None:
        site.slow_down(site.pages[self.page], self.rate)


# Most happens to the first process, the first stream and the first row, so that faults
# meet each other; the others are what they are compared with.
processes = st.sampled_from([0, 0, 0, 1, 2, 3])
pages = st.integers(0, 2)
pauses = st.sampled_from([0.0, 0.3, 0.002])

writes = st.builds(
    Write,
    process=st.sampled_from([0, 0, 1, 2]),
    stream=st.sampled_from([0, 0, 1]),
    row=st.sampled_from([0, 0, 1, None]),
    count=st.sampled_from([1, 1, 2, 3, 5, 10, 40]),
    pause=pauses,
    large=st.sampled_from([False, False, True]),
)
waits = st.builds(
    Wait, seconds=st.sampled_from([1.0, 0.3, 0.05, 0.001, 3.0, 7.0, 7.0, 16.0])
)
mends = st.builds(Mend, process=processes, resend=st.sampled_from([0.3, 2.0, 6.0]))
cuts = st.one_of(
    st.builds(Cut, process=processes, way=st.sampled_from(["both", "in", "out"])),
    mends,
)
servers = st.one_of(
    st.builds(Failover, lost=st.integers(0, 9), drops=st.booleans(), split=pauses),
    st.builds(
        Restart,
        keeps=st.sampled_from(["all", "saved", "none"]),
        after=st.sampled_from([0.0, 1.0, 5.0]),
        loading=st.sampled_from([0.0, 0.0, 1.0]),
    ),
    st.just(Save()),
    st.builds(Forget, what=st.sampled_from(["groups", "messages", "routes"])),
)
others = st.one_of(
    st.builds(
        Browser,
        page=pages,
        does=st.sampled_from(["sleep", "wake", "leave", "open", "stall", "read"]),
    ),
    st.builds(Slow, page=pages),
    st.builds(Kill, process=processes),
    st.builds(Pause, process=processes),
    st.builds(Resume, process=processes),
    st.builds(Reset, process=processes),
)
actions = st.one_of(writes, writes, waits, waits, cuts, servers, others)


def cut_off(
    process: int, way: Way, write: Write, wait: Wait, mend: Mend
) -> list[Action]:
    """Return an outage of one process, which writes in it and after it."""
    own = replace(write, process=process)
    mended = replace(mend, process=process)
    return [Cut(process, way), own, wait, mended, Wait(0.3), own]


def raced(write: Write, wait: Wait) -> list[Action]:
    """Return two writers of one row, the slower of which commits first."""
    first = replace(write, process=0, row=0, count=1, pause=0.3)
    return [first, replace(first, process=1, pause=0.0), wait]


def failed_over_twice(write: Write, lost: int) -> list[Action]:
    """Return a failover and the failback, with nothing in between."""
    return [write, Wait(0.3), Failover(lost), Failover(), write]


#: What takes several actions that belong together.
episodes = st.one_of(
    st.builds(
        cut_off,
        process=processes,
        way=st.sampled_from(["both", "in", "out"]),
        write=writes,
        wait=st.sampled_from([Wait(7.0), Wait(16.0)]),
        mend=mends,
    ),
    st.builds(raced, write=writes, wait=waits),
    st.builds(failed_over_twice, write=writes, lost=st.integers(0, 9)),
)


def histories() -> SearchStrategy[list[Action]]:
    """Return a strategy for histories; most have less than twenty actions."""
    single = actions.map(lambda action: [action])
    parts = st.lists(st.one_of(single, single, episodes), max_size=12)
    return parts.map(lambda lists: [action for part in lists for action in part])
