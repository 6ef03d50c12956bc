"""
A simulated site: writers, servers, pages and Redis, and what has to be true of them.

A site has a database of rows. Each write commits a new version of a row and broadcasts
it, as a hook does. A page shows the rows and the messages that it was told of.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from channels_redis.core import RedisChannelLayer

from tests.support.simulation.clock import Clock
from tests.support.simulation.network import Network
from tests.support.simulation.page import Page, Rendered
from tests.support.simulation.process import ADDRESS, Process
from tests.support.simulation.redis_server import RedisServer
from turbo.delivery.hub import _hubs
from turbo.delivery.names import CONTROL, EVERY, group_name, stream_id
from turbo.replay import Append

__all__ = ["STREAMS", "Broken", "Site"]

STREAMS = ("testapp:Announcements", "testapp:Counter:[1]")
#: The pages, by the streams that they show.
PAGES = (STREAMS, STREAMS[:1], STREAMS[1:])
ROWS = 2
#: Messages that the log keeps, and that wait for one process in the layer.
LENGTH = 8
CAPACITY = 6
#: Seconds after the last fault, until everything has to be right.
SETTLE = 60.0
#: Seconds for a message to arrive when nothing is wrong.
PROMPT = 2.5
#: Seconds for the servers to clean up after their pages.
LEAVE = 30.0
#: Characters of a large message; more than half of what may wait for a page.
LARGE = 3_000


class Broken(AssertionError):
    """A promise was broken."""


@dataclass
class Record:
    """What a page shows of a stream, and whether it was told what is wrong with it."""

    rows: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    applied: set[int] = field(default_factory=set)
    #: The last message of each thread that writes.
    latest: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    problem: str = ""


class Screen:
    """Keeps what one page shows."""

    def __init__(self, site: Site, name: str) -> None:
        self.records: dict[str, Record] = {}
        self._site = site
        self._name = name

    def rendered(self, stream: str, content: Any) -> None:
        rows, seen = content
        self._site.note(f"{self._name} is rendered with {rows}")
        old = self.records.get(stream, Record())
        self.records[stream] = Record(dict(rows), set(seen), gaps=old.gaps)

    def gap(self, stream: str) -> None:
        record = self.records[stream]
        record.gaps += 1
        record.problem = ""
        self._site.note(f"{self._name} is told of a gap in {stream}")

    def applied(self, stream: str, position: str, data: str) -> None:
        message = json.loads(data)
        row, version, writer = message["row"], message["version"], message["writer"]
        self._site.note(f"{self._name} shows {row}={version} at {position}")
        record = self.records[stream]
        if version in record.applied:
            record.problem = f"message {version} was applied twice"
        elif version not in record.seen:
            newest = max(record.rows.get(row, 0), record.latest.get(writer, 0))
            if version < newest:
                record.problem = f"version {version} of {row} came after {newest}"
        record.applied.add(version)
        record.latest[writer] = version
        if row is not None:
            record.rows[row] = version


class Site:
    """The whole site."""

    def __init__(self, *, writers: int = 2, servers: int = 2) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.redis = [RedisServer(self.clock, name) for name in ("one", "two")]
        self.redis[1].follow(self.redis[0])
        self.network.addresses[ADDRESS] = self.redis[0]
        self.history: list[str] = []
        self._starts = 0
        self.graves: list[Process] = []
        self.writers = [self.start_process("writer") for _ in range(writers)]
        self.servers = [self.start_process("server") for _ in range(servers)]
        #: The rows of each stream, and the versions of all messages.
        self.rows: dict[str, dict[int, int]] = {stream: {} for stream in STREAMS}
        self.sent: dict[str, set[int]] = {stream: set() for stream in STREAMS}
        #: Messages that a killed process has taken with it.
        self.lost: set[int] = set()
        self._written: dict[str, list[tuple[int, str]]] = {}
        self._versions = 0
        self.screens = [Screen(self, f"page {n}") for n in range(len(PAGES))]
        self.pages = [
            Page(self.clock, self, screen, streams)
            for screen, streams in zip(self.screens, PAGES, strict=True)
        ]
        self.clock.run(1.0)
        for page in self.pages:
            page.open()
        self.clock.run(2.0)

    def note(self, text: str) -> None:
        """Keep what has happened, for whoever looks at a broken promise."""
        self.history.append(f"{self.clock.now:8.3f} {text}")

    # --- Processes

    def start_process(self, role: str) -> Process:
        """Start a process."""
        self._starts += 1
        return Process(
            self.clock,
            self.network,
            f"{role} {self._starts}",
            length=LENGTH,
            capacity=CAPACITY,
        )

    @property
    def master(self) -> RedisServer:
        """Return the server that the address leads to."""
        server = self.network.addresses[ADDRESS]
        assert isinstance(server, RedisServer)
        return server

    @property
    def processes(self) -> list[Process]:
        return [*self.writers, *self.servers]

    def server(self, page: Page) -> Process | None:
        """Return the process that a request of a page reaches: the first is busy."""
        place = self.pages.index(page) % len(self.servers)
        return self.servers[place]

    def render(self, process: Process, stream: str) -> Rendered:
        """Render a stream: the moment comes first, then the data are read."""
        with process.loop.running():
            since = process.publisher.moment()
        content = dict(self.rows[stream]), set(self.sent[stream])
        return Rendered(since, content)

    def kill(self, process: Process) -> None:
        """Kill a process, and start another one in its place."""
        process.kill()
        self.graves.append(process)
        for version, data in self._written.pop(process.name, []):
            if not self._is_stored(data):
                self.lost.add(version)
        for page in self.pages:
            if page.process is process:
                self.clock.later(0.01, page.closed, page._socket, 1006)
        for group in (self.writers, self.servers):
            if process in group:
                role = process.name.partition(" ")[0]
                group[group.index(process)] = self.start_process(role)

    # --- Redis

    def fail_over(self, *, lost: int, drops: bool, split: float) -> None:
        """Let the replica become the master."""
        old = self.master
        new = next(server for server in self.redis if server is not old)
        if not (old.is_up and new.is_up):
            return
        self.note(f"{new.name} becomes the master instead of {old.name}")
        new.promote(lost=lost)
        self.network.addresses[ADDRESS] = new
        self.clock.later(split, self._demote, old, new, drops)
        if not split:
            self.clock.run(0.0)

    def _demote(self, old: RedisServer, new: RedisServer, drops: bool) -> None:
        if self.master is new:
            old.follow(new)
            if drops:
                old.drop_connections()

    def forget(self, part: bytes) -> None:
        """Let Redis forget the keys that have this part."""
        values = self.master.data.values
        for key in [key for key in values if part in key]:
            del values[key]

    def slow_down(self, page: Page, rate: float) -> None:
        """Let a page read slowly from now on."""
        page.rate = rate
        if page._socket is not None:
            page._socket.rate = rate

    def _is_stored(self, data: str) -> bool:
        """Return whether a message is in the log of the master."""
        values = self.master.data.values.values()
        return any(
            data.encode() in fields
            for value, _ in values
            if hasattr(value, "entries")
            for _, fields in value.entries
        )

    # --- Writing

    def write(
        self,
        process: Process,
        stream: str,
        row: int | None,
        *,
        thread: int = 0,
        pause: float = 0.0,
        large: bool = False,
    ) -> None:
        """
        Commit a new version of a row in a thread, and broadcast it after ``pause``.

        A thread broadcasts in the order of its commits. Without a row, a view adds an
        element by itself, which overwrites nothing.
        """
        self._versions += 1
        version = self._versions
        with process.loop.running():
            moment = process.replay.moment_of_change()
        if row is not None:
            self.rows[stream][row] = version
        self.sent[stream].add(version)
        self.note(f"{process.name} commits {row}={version} of {stream}")
        writer = f"{process.name} {thread}"
        more = "x" * (LARGE * large)
        data = json.dumps(
            {"row": row, "version": version, "writer": writer, "more": more}
        )
        message = Append(stream_id(stream), data)
        if row is not None:
            key = f"row {row} of {stream}"
            message = Append(message.stream, data, key, writer, moment)
        self._written.setdefault(process.name, []).append((version, data))
        if pause:
            self.clock.later(pause, self._put, process, message)
        else:
            self._put(process, message)

    def _put(self, process: Process, message: Append) -> None:
        if not process.is_alive:
            return
        if process.loop.held is not None:
            process.loop.call_soon(self._put, process, message)
            return
        with process.loop.running():
            process.publisher.put(message)

    # --- What has to be true

    def finish(self) -> None:
        """End all faults, and check that everything is right after some time."""
        self.note("all faults end")
        for source, target in self.network.blocked():
            self.network.unblock(source, target, resend=0.3)
        for server in self.redis:
            if not server.is_up:
                server.start(keeps="all")
        for process in self.processes:
            process.go_on()
        for page in self.pages:
            page.read()
            page.wake()
        self.clock.run(SETTLE)
        self._check_pages("after a while")
        self.note("each row is written once more")
        writer = self.writers[0]
        for stream in STREAMS:
            for row in range(ROWS):
                self.write(writer, stream, row)
        self.clock.run(PROMPT)
        self._check_pages("soon after the last messages")
        self._check_streams()
        self._check_routes()
        for page in self.pages:
            page.leave()
        self.clock.run(LEAVE)
        self._check_streams()
        self._check_failures()

    def _check_pages(self, when: str) -> None:
        for page, screen in zip(self.pages, self.screens, strict=True):
            if not page.is_open:
                continue
            if not page.follows:
                raise Broken(f"{screen._name} gets no messages {when}")
            for stream in page.streams:
                self._check_record(screen, stream, when)

    def _check_record(self, screen: Screen, stream: str, when: str) -> None:
        record = screen.records[stream]
        where = f"on {screen._name}, in {stream}, {when}"
        if record.problem:
            raise Broken(f"{record.problem}, and no gap followed, {where}")
        missing = self.sent[stream] - record.seen - record.applied - self.lost
        if missing:
            raise Broken(
                f"messages {sorted(missing)} are missing, without a gap, {where}"
            )
        for row, version in self.rows[stream].items():
            if version not in self.lost and record.rows.get(row) != version:
                raise Broken(
                    f"row {row} is {record.rows.get(row)}, not {version}, {where}"
                )

    def _check_streams(self) -> None:
        """Check that a process has the streams of its pages, and no others."""
        for process in self.servers:
            wanted = self._wanted(process)
            hub = _hubs._made.get(process.loop)
            held = set(hub.subscribers()) if hub else set()
            if held != wanted:
                raise Broken(f"{process.name} has {held} instead of {wanted}")

    def _check_routes(self) -> None:
        """Check that a process is sent its streams, and no others."""
        for process in self.servers:
            streams = self._wanted(process)
            wanted = {f"turbo:{{{sid}}}:shown" for sid in streams}
            wanted.add(f"asgi:group:{group_name(EVERY)}")
            channel = process.layer.client_prefix.encode()
            routes = {
                key.decode()
                for key, (value, _) in self.master.data.values.items()
                if key.endswith(b":shown") or key.startswith(b"asgi:group:")
                if any(channel in member for member in value)
            }
            # A process that serves no page any more receives nothing.
            if streams and routes != wanted:
                raise Broken(f"{process.name} is sent {routes} instead of {wanted}")

    def _wanted(self, process: Process) -> set[str]:
        pages = [page for page in self.pages if page.process is process]
        streams = {stream for page in pages for stream in page.streams}
        return {stream_id(name) for name in (*streams, CONTROL)} if pages else set()

    def _check_failures(self) -> None:
        for process in self.processes:
            if count := process.publisher.waiting():
                raise Broken(f"{count} messages wait in {process.name}")
            if process.failures:
                raise Broken(f"{process.name}: {process.failures}")

    def close(self) -> None:
        """End everything, so that nothing is left for the garbage collector."""
        processes = [*self.graves, *self.processes]
        for process in processes:
            process.is_alive = False
            for connection in self.network.of(process.name):
                connection.lose()
                if connection.transport is not None:
                    connection.transport.lost()
        for process in processes:
            process.bury()
        for process in processes:
            process.end()


assert RedisChannelLayer.brpop_timeout < SETTLE
