"""The store in Redis or Valkey, shared by all processes."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from turbo.bindings.conf import get_binding_settings
from turbo.bindings.store import lua_reading, lua_writing
from turbo.bindings.store.base import (
    Applied,
    Contents,
    Listed,
    Read,
    Row,
    Slot,
    State,
    Store,
    Ticket,
)
from turbo.bindings.store.lua_common import PARTS
from turbo.bindings.store.versions import Version
from turbo.conf import layer_hosts
from turbo.runtime.redis.clients import Host, ScriptCommand
from turbo.runtime.redis.hosts import read_hosts
from turbo.runtime.redis.script import Script

__all__ = ["RedisStore"]


class RedisStore(Store):
    """
    A store on one or several Redis hosts, in the format of channels-redis.

    It needs Redis 6.2 or later, or any Valkey. All keys of a script are in one slot of
    a cluster.
    """

    supports_processes = True

    def __init__(
        self,
        *,
        hosts: Sequence[Any] | None,
        prefix: str = "turbo",
        length: int = 1_000,
        patience: float = 60.0,
        age: float = 604_800.0,
        timeout: float = 1.0,
    ) -> None:
        super().__init__(length=length, patience=patience)
        addresses = read_hosts(hosts, owner="The bindings' hosts")
        self._hosts = [Host(address, timeout=timeout) for address in addresses]
        self._prefix = prefix
        self._age_ms = round(age * 1_000)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        settings = get_binding_settings()
        return super().options() | {
            "hosts": layer_hosts() if settings.hosts is None else settings.hosts,
            "prefix": settings.prefix,
            "age": settings.max_age,
            "timeout": settings.timeout,
        }

    def names(self, groups: Sequence[str]) -> list[list[str]]:
        """Return the names of each group's slots."""
        commands = [(lua_reading.NAMES, [f"{self._tag(g)}:slots"], ()) for g in groups]
        return [sorted(names) for names in self._run(groups, commands)]

    def take(self, slots: Sequence[Slot], pk: str) -> list[Ticket | None]:
        """Take a ticket for a row of each slot."""
        commands = [self._command(lua_reading.TAKE, slot, pk) for slot in slots]
        return [
            _ticket(reply)
            for reply in self._run([slot.group for slot in slots], commands)
        ]

    def apply(
        self, writes: Sequence[tuple[Slot, Ticket, Read]]
    ) -> list[Applied | None]:
        """Write rows that were read under tickets."""
        commands = [
            self._command(
                lua_writing.APPLY,
                slot,
                ticket.epoch,
                ticket.number,
                read.pk,
                *(("1", read.row.key, read.row.value) if read.row else ("0", "", "")),
                *(("0",) if read.order is None else ("1", *_flat(read.order))),
            )
            for slot, ticket, read in writes
        ]
        replies = self._run([slot.group for slot, _, _ in writes], commands)
        return [_applied(reply) for reply in replies]

    def reorder(
        self, slot: Slot, ticket: Ticket, order: Sequence[Listed]
    ) -> Applied | None:
        """Write the order of the rows."""
        reply = self._do(
            lua_writing.REORDER, slot, ticket.epoch, ticket.number, *_flat(order)
        )
        return _applied(reply)

    def begin(self, slot: Slot, *, alone: bool) -> Ticket | None:
        """Take a ticket to read all rows."""
        epoch = secrets.token_hex(5)
        return _ticket(self._do(lua_reading.BEGIN, slot, epoch, int(alone)))

    def replace(
        self, slot: Slot, ticket: Ticket, rows: Sequence[Row]
    ) -> Applied | None:
        """Write all rows, read under a ticket."""
        flat = _flat((row.pk, row.key, row.value) for row in rows)
        reply = self._do(lua_writing.REPLACE, slot, ticket.epoch, ticket.number, *flat)
        return _applied(reply)

    def abandon(self, slot: Slot, ticket: Ticket) -> None:
        """Give a ticket back."""
        self._do(lua_reading.ABANDON, slot, ticket.epoch, ticket.number)

    def peek(self, slot: Slot) -> State | None:
        """Return the state of the slot."""
        return _state(self._do(lua_reading.PEEK, slot))

    def read(self, slot: Slot, known: Version | None = None) -> Contents | None:
        """Return the changes since ``known``, or all rows."""
        since = known or ("", 0)
        reply = self._do(lua_reading.READ, slot, *since)
        state = _state(reply)
        if state is None:
            return None
        if reply[4]:
            return Contents(state, changes=tuple(reply[5]))
        flat = iter(reply[6])
        values = dict(zip(flat, flat, strict=True))
        pks = (member.partition("\n")[2] for member in reply[5])
        return Contents(state, rows=tuple((pk, values[pk]) for pk in pks))

    def row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        """Return the value of one row."""
        reply = self._do(lua_reading.ROW, slot, pk)
        state = _state(reply)
        return None if state is None else (state, reply[4])

    def listen(self, slot: Slot, *, seconds: float) -> State | None:
        """Have changes of the slot broadcast for some seconds."""
        return _state(self._do(lua_reading.LISTEN, slot, round(seconds * 1_000)))

    def bump(self, slot: Slot) -> Applied | None:
        """Make a new version of the same content."""
        return _applied(self._do(lua_reading.BUMP, slot))

    def invalidate(self, slot: Slot) -> Applied | None:
        """Mark the slot to be filled again before it is read."""
        return _applied(self._do(lua_reading.INVALIDATE, slot))

    def clear(self, slot: Slot) -> bool:
        """Delete the slot, and return whether anybody listens."""
        return bool(self._do(lua_reading.CLEAR, slot))

    def ping(self) -> None:
        """Raise the network's error if a host cannot be reached."""
        for host in self._hosts:
            host.execute("PING")

    def _tag(self, group: str) -> str:
        return f"{self._prefix}:{{bindings.{group}}}"

    def _host(self, group: str) -> Host:
        return self._hosts[zlib.crc32(group.encode()) % len(self._hosts)]

    def _command(self, script: Script, slot: Slot, *args: str | int) -> ScriptCommand:
        tag = self._tag(slot.group)
        digest = hashlib.sha256(slot.name.encode()).hexdigest()[:16]
        keys = [f"{tag}:slots", *(f"{tag}:{digest}:{part}" for part in PARTS)]
        fixed = (
            slot.name,
            self._age_ms,
            round(self.patience * 1_000),
            self.length,
            int(slot.listed),
        )
        return script, keys, (*fixed, *args)

    def _do(self, script: Script, slot: Slot, *args: str | int) -> Any:
        [reply] = self._run([slot.group], [self._command(script, slot, *args)])
        return reply

    def _run(
        self, groups: Sequence[str], commands: Sequence[ScriptCommand]
    ) -> list[Any]:
        """Return the replies to one command per group, in one round trip per host."""
        shares: dict[Host, list[int]] = {}
        for place, group in enumerate(groups):
            shares.setdefault(self._host(group), []).append(place)
        replies: list[Any] = [None] * len(commands)
        for host, places in shares.items():
            found = host.run([commands[place] for place in places])
            for place, reply in zip(places, found, strict=True):
                replies[place] = reply
        return replies


def _flat(groups: Iterable[Iterable[str]]) -> list[str]:
    return [text for group in groups for text in group]


def _ticket(reply: Any) -> Ticket | None:
    return Ticket(*reply) if reply else None


def _applied(reply: Any) -> Applied | None:
    if not reply:
        return None
    epoch, number, has_listeners, reorder, changes = reply
    ticket = Ticket(epoch, reorder) if reorder else None
    return Applied(Version(epoch, number), bool(has_listeners), tuple(changes), ticket)


def _state(reply: Any) -> State | None:
    if not reply:
        return None
    epoch, number, modified, now = reply[:4]
    return State(Version(epoch, number), int(modified) / 1_000, int(now) / 1_000)
