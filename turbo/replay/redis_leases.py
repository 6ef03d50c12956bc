"""The leases in Redis or Valkey, shared by all processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from turbo.replay import lua_leases as lua
from turbo.replay.hosts import Hosts
from turbo.replay.leases import MOST, Change, Known, Lease, Leases, Look
from turbo.replay.words import Words
from turbo.runtime.redis.aclients import ScriptCall
from turbo.runtime.redis.script import Script

__all__ = ["RedisLeases"]

#: Milliseconds after which what nobody looks at goes away.
KEEP = 86_400_000
#: The most members in one script: other clients of the server wait for it.
AT_ONCE = 100

#: A stream, and what concerns its members.
Share = tuple[str, list[Any]]


class RedisLeases(Leases):
    """Leases on the hosts of a log; each stream is on the host of its messages."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._words = Words()

    async def look(self, known: Known) -> Look:
        """Take the next changes, with a second round trip if there are any."""
        hosts = self._hosts.all
        replies = await self._hosts.ask(
            [self._look_call(host, known.get(host, "")) for host in hosts]
        )
        is_lost = is_quiet = is_used = False
        due: list[tuple[str, str]] = []
        for host, reply in zip(hosts, replies, strict=True):
            word, lost, quiet, used, *members = reply
            known[host] = _text(word)
            is_lost, is_quiet = is_lost or bool(lost), is_quiet or bool(quiet)
            is_used = is_used or bool(used)
            for text in map(_text, members):
                stream, _, member = text.partition(" ")
                due.append((stream, member))
        return Look(is_lost, is_quiet, is_used, tuple(await self._taken(lua.TAKE, due)))

    async def hold(self, holder: str, leases: Sequence[Lease]) -> bool:
        """Hold leases, in one round trip."""
        items = [
            (x.stream, [x.member, _micros(x.seconds), _micros(x.age), x.is_kept])
            for x in leases
        ]
        calls = [
            self._call(lua.HOLD, host, shares, holder)
            for host, shares in self._shares(items)
        ]
        return all(await self._hosts.ask(calls))

    async def settle(self, changes: Sequence[Change]) -> None:
        """Note that changes were told, in one round trip."""
        items = [
            (change.stream, [change.member, change.has_joined, str(change.token)])
            for change in changes
        ]
        await self._hosts.ask(
            [self._call(lua.SETTLE, host, some) for host, some in self._shares(items)]
        )

    async def extend(self, changes: Sequence[Change]) -> list[Change]:
        """Note that changes are still being told, in one round trip."""
        items = [
            (change.stream, [change.member, change.has_joined, str(change.token)])
            for change in changes
        ]
        return await self._taken(lua.EXTEND, items)

    async def members(self, streams: Sequence[str]) -> list[list[str]]:
        """Return who is present in each stream, in one round trip."""
        calls = [
            ScriptCall(self._hosts.index(s), lua.MEMBERS, (self._key(s),))
            for s in streams
        ]
        return [_members(reply) for reply in await self._hosts.ask(calls)]

    async def _taken(
        self, script: Script, items: Iterable[tuple[str, Any]]
    ) -> list[Change]:
        """Return the changes that are to be told from now on."""
        parts = list(self._shares(items))
        tell_again = self.times.tell_again
        calls = [self._call(script, host, some, tell_again) for host, some in parts]
        replies = await self._hosts.ask(calls) if calls else []
        return [
            Change(shares[place - 1][0], member, has_joined, int(token))
            for (_, shares), reply in zip(parts, replies, strict=True)
            for place, member, has_joined, token in json.loads(reply)
        ]

    def _shares(
        self, items: Iterable[tuple[str, Any]]
    ) -> Iterator[tuple[int, list[Share]]]:
        """Yield each host with some items of its streams, by stream."""
        by_host: dict[int, list[tuple[str, Any]]] = {}
        for stream, item in items:
            host = self._hosts.index(stream)
            by_host.setdefault(host, []).append((stream, item))
        for host, own in by_host.items():
            for start in range(0, len(own), AT_ONCE):
                shares: dict[str, list[Any]] = {}
                for stream, item in own[start : start + AT_ONCE]:
                    shares.setdefault(stream, []).append(item)
                yield host, list(shares.items())

    def _look_call(self, host: int, known: str) -> ScriptCall:
        keys = self._hosts.part_key(host, "watch"), self._hosts.part_key(host, "due")
        times = self.times.gap, self.times.quiet
        args = (self._words.new(), known, MOST, KEEP, *times)
        return ScriptCall(host, lua.LOOK, keys, args)

    def _call(
        self, script: Any, host: int, shares: list[Share], *args: str | int
    ) -> Any:
        keys = [self._hosts.part_key(host, "due"), *(self._key(s) for s, _ in shares)]
        if script is lua.HOLD:
            keys.insert(0, self._hosts.part_key(host, "watch"))
        text = json.dumps(shares, ensure_ascii=False, separators=(",", ":"))
        return ScriptCall(host, script, tuple(keys), (KEEP, text, *args))

    def _key(self, stream: str) -> str:
        return f"{self._hosts.name(stream)}:present"


def _members(reply: Sequence[Any]) -> list[str]:
    now, *pairs = reply
    found = []
    for member, known in zip(pairs[::2], pairs[1::2], strict=True):
        since, until, *_ = _text(known).split(" ")
        if int(until) > int(now):
            found.append((int(since), _text(member)))
    return [member for _, member in sorted(found)]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
