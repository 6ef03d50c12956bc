"""Simulated Redis servers: one is the master, the others are its replicas."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.support.simulation import redis_lua
from tests.support.simulation.clock import Clock
from tests.support.simulation.network import Connection
from tests.support.simulation.redis_data import (
    COMMANDS,
    WRITES,
    Data,
    Refused,
    Status,
    Values,
)

__all__ = ["RedisServer"]

#: The time of the servers' clocks at the beginning, in seconds.
EPOCH = 1_700_000_000
#: Commands that a replica is behind, and that are lost when it becomes the master.
BEHIND = 40
READ_ONLY = "READONLY You can't write against a read only replica."
NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."


class RedisServer:
    """One server."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.name = name
        self.is_up = True
        self.is_loading = False
        self.master: RedisServer | None = None
        self._clock = clock
        self._starts = 0
        self.data = Data(lambda: EPOCH + clock.now)
        self.data.info = self._info
        self._sessions: dict[Connection, _Session] = {}
        self._replicas: dict[RedisServer, None] = {}
        #: What the master has sent and this replica has not applied yet.
        self._behind: deque[list[tuple[bytes, Any]]] = deque()
        self._saved = Values()
        self._begin()

    # --- Starting and stopping

    def save(self) -> None:
        """Write the data to the disk."""
        self._saved = deepcopy(self.data.values)

    def stop(self) -> None:
        """Kill the server."""
        self.is_up = False
        for connection in list(self._sessions):
            connection.reset()

    def start(self, *, keeps: str, loading: float = 0.0) -> None:
        """Start again, with ``all`` data, with the ``saved`` ones, or with ``none``."""
        if keeps == "saved":
            self.data.values = deepcopy(self._saved)
        elif keeps == "none":
            self.data.values = Values()
        self._begin()
        self.is_up = True
        self.is_loading = loading > 0
        if loading:
            self._clock.later(loading, self._load)
        for replica in self._replicas:
            replica.copy_from(self)

    def _begin(self) -> None:
        self._starts += 1
        self._scripts: dict[bytes, bytes] = {}
        self.run_id = _digest(f"{self.name} {self._starts}")
        self._replication_ids = (_digest(f"{self.run_id} replication"), "0" * 40)

    def _load(self) -> None:
        self.is_loading = False

    # --- Replication

    def follow(self, master: RedisServer) -> None:
        """Become a replica; the connections stay."""
        self.master = master
        master._replicas[self] = None
        self._replicas.pop(master, None)
        for session in list(self._sessions.values()):
            session.unblock_as_replica()
        self.copy_from(master)

    def copy_from(self, master: RedisServer) -> None:
        """Take over the data of the master."""
        self.data.values = deepcopy(master.data.values)
        self._behind.clear()
        self._replication_ids = master._replication_ids

    def promote(self, *, lost: int) -> None:
        """Become the master, without the last commands of the one before."""
        while len(self._behind) > lost:
            self.data.apply(self._behind.popleft())
        self._behind.clear()
        if self.master is not None:
            self.master._replicas.pop(self, None)
        self.master = None
        first, _ = self._replication_ids
        self._replication_ids = _digest(f"{first} {self.name}"), first

    def _replicate(self) -> None:
        if not self.data.written:
            return
        copies = self.data.copies()
        for replica in self._replicas:
            replica._behind.append(copies)
            while len(replica._behind) > BEHIND:
                replica.data.apply(replica._behind.popleft())

    # --- Connections

    def accept(self, connection: Connection) -> Callable[[bytes], None]:
        session = self._sessions[connection] = _Session(self, connection)
        return session.take

    def leave(self, connection: Connection) -> None:
        if session := self._sessions.pop(connection, None):
            session.close()

    def drop_connections(self) -> None:
        """End all connections, as CLIENT KILL does."""
        for connection in list(self._sessions):
            connection.reset()

    # --- Commands

    def execute(self, command: list[bytes]) -> Any:
        """Run a command, and return its reply or its error."""
        try:
            reply = self._execute(command)
        except Refused as error:
            reply = error
        self._replicate()
        for session in list(self._sessions.values()):
            session.look()
        return reply

    def _execute(self, command: list[bytes]) -> Any:
        name = command[0].upper()
        if self.is_loading and name not in (b"CLIENT", b"HELLO", b"INFO"):
            raise Refused("LOADING Redis is loading the dataset in memory")
        if name in (b"CLIENT", b"SELECT"):
            return Status(b"OK")
        if name in (b"EVAL", b"EVALSHA"):
            return self._eval(name, command)
        return self._run(command)

    def _eval(self, name: bytes, command: list[bytes]) -> Any:
        source = command[1]
        if name == b"EVALSHA":
            if source not in self._scripts:
                raise Refused(NO_SCRIPT)
            source = self._scripts[source]
        else:
            self._scripts[_digest(source).encode()] = source
        keys = int(command[2])
        return redis_lua.run(
            source, command[3 : 3 + keys], command[3 + keys :], self._run
        )

    def _run(self, command: Any) -> Any:
        name = bytes(command[0]).upper()
        if name in WRITES and self.master is not None:
            raise Refused(READ_ONLY)
        function = COMMANDS.get(name)
        if function is None:
            raise NotImplementedError(f"{name.decode()} is not simulated.")
        return function(self.data, *command[1:])

    def _info(self) -> bytes:
        first, second = self._replication_ids
        role = "master" if self.master is None else "slave"
        lines = [
            "# Server",
            "redis_version:7.2.0",
            f"run_id:{self.run_id}",
            "# Replication",
            f"role:{role}",
            f"master_replid:{first}",
            f"master_replid2:{second}",
        ]
        return "\r\n".join([*lines, ""]).encode()


class _Session:
    """One connection on the server's side."""

    def __init__(self, server: RedisServer, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._received = bytearray()
        self._commands: deque[list[bytes]] = deque()
        #: The commands since MULTI.
        self._queued: list[list[bytes]] | None = None
        #: The key that BZPOPMIN waits for.
        self._key: bytes | None = None
        self._timer: Any = None

    def take(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._received += data
        while command := _parsed(self._received):
            self._commands.append(command)
        self._go_on()

    def close(self) -> None:
        self._commands.clear()
        self._unblock()

    def look(self) -> None:
        """Answer BZPOPMIN if there is something now."""
        if self._key is not None and self._server.data.get(self._key):
            key = self._key
            self._unblock()
            reply = self._server.execute([b"ZPOPMIN", key])
            self._reply([key, *reply])
            self._go_on()

    def unblock_as_replica(self) -> None:
        """Refuse what waits, because the server is a replica now."""
        if self._key is not None:
            self._unblock()
            self._reply(
                Refused(
                    "UNBLOCKED force unblock from blocking operation, instance state "
                    "changed (master -> replica?)"
                )
            )
            self._go_on()

    def _go_on(self) -> None:
        replies = []
        while self._commands and self._key is None:
            command = self._commands.popleft()
            if command[0].upper() == b"BZPOPMIN":
                self._wait(command[1], float(command[2]))
            else:
                replies.append(_packed(self._reply_to(command)))
        if replies:
            self._connection.reply(b"".join(replies))

    def _reply_to(self, command: list[bytes]) -> Any:
        name = command[0].upper()
        if name == b"MULTI":
            self._queued = []
            return Status(b"OK")
        if self._queued is None:
            return self._server.execute(command)
        if name != b"EXEC":
            self._queued.append(command)
            return Status(b"QUEUED")
        queued, self._queued = self._queued, None
        return [self._server.execute(command) for command in queued]

    def _wait(self, key: bytes, seconds: float) -> None:
        if self._server.master is not None:
            self._reply(Refused(READ_ONLY))
            return
        self._key = key
        self._timer = self._server._clock.later(seconds, self._expire)
        self.look()

    def _expire(self) -> None:
        self._unblock()
        self._connection.reply(b"*-1\r\n")
        self._go_on()

    def _unblock(self) -> None:
        self._key = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _reply(self, reply: Any) -> None:
        self._connection.reply(_packed(reply))


def _digest(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _parsed(data: bytearray) -> list[bytes] | None:
    """Take one command from the front of the bytes, if there is a whole one."""
    end = data.find(b"\r\n")
    if end < 0:
        return None
    place, parts = end + 2, []
    for _ in range(int(data[1:end])):
        end = data.find(b"\r\n", place)
        if end < 0:
            return None
        size = int(data[place + 1 : end])
        place = end + 2 + size + 2
        if place > len(data):
            return None
        parts.append(bytes(data[end + 2 : place - 2]))
    del data[:place]
    return parts


def _packed(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, Refused):
        return b"-%s\r\n" % str(reply).encode()
    if isinstance(reply, Status):
        return b"+%s\r\n" % reply
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_packed, reply))
    return b"$%d\r\n%s\r\n" % (len(reply), reply)
