"""The replay log in Redis or Valkey, shared by all processes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from channels_redis.utils import create_pool
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

from turbo.conf import get_settings, layer_hosts, layer_is_redis
from turbo.exceptions import ConfigurationError
from turbo.replay import lua
from turbo.replay.attempts import Attempt, Attempts
from turbo.replay.base import Append, Appended, Entry, History, RoutingLog
from turbo.replay.clocks import monotonic
from turbo.replay.hosts import Hosts
from turbo.replay.leases import Leases
from turbo.replay.positions import Moment, Position, parse
from turbo.replay.redis_leases import RedisLeases
from turbo.replay.redis_texts import RedisTexts
from turbo.replay.texts import Texts
from turbo.replay.words import Words
from turbo.runtime.redis.aclients import ScriptCall
from turbo.runtime.redis.cluster import cluster_nodes
from turbo.runtime.redis.hosts import read_hosts
from turbo.runtime.redis.options import connection_options
from turbo.runtime.redis.script import Script

__all__ = ["RedisReplay"]

#: The most streams or keys of one script: other clients of the server wait for it.
AT_ONCE = 32
#: The fewest seconds that a stream's epoch is kept after its messages.
DAY = 86_400


class RedisReplay(RoutingLog):
    """
    A log on one or several Redis hosts, configured as in channels-redis.

    It needs Redis 6.2 or later, or any Valkey. All keys of a script are in one slot.
    """

    supports_processes = True

    def __init__(
        self,
        *,
        hosts: Sequence[Any] | None,
        prefix: str = "turbo",
        length: int = 100,
        age: float = 300.0,
        memory: float = DAY,
        text_age: float = 3_600.0,
        monotonic: Callable[[], int] = monotonic,
    ) -> None:
        super().__init__(length=length, age=age)
        self._addresses = read_hosts(
            hosts, owner="The replay log's hosts", clusters=True
        )
        self._hosts = Hosts(self._addresses, prefix=prefix, monotonic=monotonic)
        self._age_ms = max(1, round(age * 1_000))
        # A process notes what it shows with each comparison of tips.
        interval = math.ceil(get_settings().tip_interval)
        self._young, self._shown = max(30, 2 * interval), max(60, 6 * interval)
        self._meta_ms = self._age_ms + round(max(memory, DAY) * 1_000)
        self._attempts = Attempts()
        self._words = Words()  # for epochs that begin
        self._texts = RedisTexts(self._hosts, age=text_age)
        self._leases = RedisLeases(self._hosts)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        settings = get_settings()
        hosts = settings.replay_hosts
        if hosts is None:
            if not layer_is_redis():
                raise ConfigurationError(
                    f"The replay log has no Redis hosts: the channel layer "
                    f"{settings.channel_layer!r} is not one of channels-redis. Set "
                    f"TURBO['REPLAY_HOSTS'], say to ['redis://localhost:6379']."
                )
            hosts = layer_hosts()
        return super().options() | {
            "hosts": hosts,
            "prefix": settings.replay_prefix,
            "memory": settings.signed_name_max_age,
            "text_age": settings.text_age,
        }

    @property
    def texts(self) -> Texts:
        """Where growing texts are kept beside the messages."""
        return self._texts

    @property
    def leases(self) -> Leases:
        """Where all processes note who is present in a stream."""
        return self._leases

    @property
    def sees_failovers(self) -> bool:
        """Whether every host that has answered permits ``INFO``."""
        return self._hosts.identified()

    def moment(self) -> str:
        """
        Return an estimated time that the clock of every host has passed.

        A host that has not answered for a minute counts as unknown: histories of its
        streams since this moment will be incomplete.
        """
        return self._hosts.moment()

    def moment_of_change(self) -> str:
        """
        Return a moment for a change.

        A process that has just started does not know the hosts yet. Its own time, and
        what it knows when it stores the message, tell whether data were lost since.
        """
        return self._hosts.moment_of_change()

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Number and store messages, with a script for several streams at once."""
        shares: dict[str, list[Append]] = {}
        for item in appends:
            shares.setdefault(item.stream, []).append(item)
        parts = list(_parts(shares, self._hosts.index))
        await self._hosts.know({host for host, _ in parts})
        attempt = self._attempts.begin(appends, self._hosts.floors)
        calls = [
            self._append_call(attempt, host, [(s, shares[s]) for s in streams])
            for host, streams in parts
        ]
        try:
            replies = await self._hosts.ask(calls)
        except BaseException:
            self._attempts.fail(attempt)
            raise
        self._attempts.succeed(attempt)
        appended = {
            stream: _places(places, shown_by)
            for (_, streams), (channels, routes, stored) in zip(
                parts, map(json.loads, replies), strict=True
            )
            for stream, shown_by, places in zip(
                streams, _shown_by(channels, routes), stored, strict=True
            )
        }
        return [next(appended[item.stream]) for item in appends]

    async def read(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        channel: str = "",
    ) -> list[History]:
        """
        Return the history of each stream, with one script each.

        From now on the process that receives from the ``channel`` shows them.
        """
        calls = [self._read_call(stream, since, channel) for stream, since in requests]
        replies, readings = await self._hosts.ask_and_read(calls)
        histories = []
        for (_, since), call, reply in zip(requests, calls, replies, strict=True):
            host = call.host
            proved = self._hosts.proves(parse(since), host, readings[host])
            histories.append(_history(reply, since=since, proved=proved))
        return histories

    async def tips(
        self, streams: Sequence[str], *, channel: str = ""
    ) -> list[tuple[str, int] | None]:
        """
        Return each stream's last position, and keep its epoch alive.

        The process that receives from the ``channel`` still shows them.
        """
        found = await self._tips(streams, channel)
        owed = [s for s, tip in zip(streams, found, strict=True) if tip and tip[2]]
        if owed:
            await self.append([Append(stream, None) for stream in owed])
            found = await self._tips(streams, channel)
        return [tip and tip[:2] for tip in found]

    async def hide(self, stream: str, channel: str) -> None:
        """Note that a process does not show the stream any more."""
        keys = self._keys(stream)[2:3]
        call = ScriptCall(self._hosts.index(stream), lua.HIDE, keys, (channel,))
        await self._hosts.ask([call])

    async def shown_by(self, streams: Sequence[str]) -> list[tuple[str, ...] | None]:
        """Return the channels that show each stream, or ``None`` if unknown."""
        parts = list(_parts(dict.fromkeys(streams), self._hosts.index))
        calls = [
            ScriptCall(host, lua.SHOWN, self._all_keys(some, 0, 2), (self._young,))
            for host, some in parts
        ]
        found: dict[str, tuple[str, ...] | None] = {}
        for (_, some), reply in zip(parts, await self._hosts.ask(calls), strict=True):
            channels, routes = json.loads(reply)
            found.update(zip(some, _shown_by(channels, routes), strict=True))
        return [found[stream] for stream in streams]

    async def sync_clock(self) -> None:
        """Ask every host for its time and identity, in one round trip."""
        await self._hosts.sync()

    async def claim(self, key: str, *, seconds: float) -> float:
        """Take ``key`` among all processes."""
        [remaining] = await self.claim_each([key], seconds=seconds)
        return remaining

    async def claim_each(self, keys: Sequence[str], *, seconds: float) -> list[float]:
        """Take each key among all processes, in one round trip."""
        milliseconds = max(1, round(seconds * 1_000))
        replies = await self._hosts.ask(
            [self._key_call(lua.CLAIM, key, "claim", milliseconds) for key in keys]
        )
        return [float(remaining) / 1_000 for remaining in replies]

    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Note the revocations for all processes."""
        hosts = [self._key_host(key) for key in keys]
        await self._hosts.know(hosts)
        await self._hosts.ask(
            [
                self._key_call(
                    lua.FORBID,
                    key,
                    "forbid",
                    seconds * 1_000,
                    self._hosts.ceiling(host),
                )
                for key, host in zip(keys, hosts, strict=True)
            ]
        )

    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        """Return the revocations by all processes."""
        parts = list(_parts(keys, self._key_host))
        replies, _ = await self._hosts.ask_and_read(
            [
                ScriptCall(
                    host,
                    lua.FORBIDDEN,
                    tuple(self._key_name(key, "forbid") for key in some),
                )
                for host, some in parts
            ]
        )
        times = {
            key: int(time)
            for (_, some), reply in zip(parts, replies, strict=True)
            for key, time in zip(some, reply, strict=True)
            if time is not None
        }
        return [times.get(key) for key in keys]

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._hosts.aclose()

    def check(self) -> list[CheckMessage]:
        """Return a warning for each host that no connection can be made to."""
        return [
            CheckWarning(
                f"The replay log cannot use one of its Redis hosts: {problem}",
                hint="Look at TURBO['REPLAY_HOSTS'], or the channel layer's hosts.",
                id="turbo.W020",
            )
            for problem in map(_problem, self._addresses)
            if problem
        ]

    def _keys(self, stream: str) -> tuple[str, ...]:
        tagged = self._hosts.name(stream)
        word = self._hosts.word_key(stream)
        own = f"{tagged}:meta", f"{tagged}:log", f"{tagged}:shown"
        return (*own, word) if word else own

    def _key_call(
        self, script: Script, key: str, kind: str, *args: str | int
    ) -> ScriptCall:
        name = self._key_name(key, kind)
        return ScriptCall(self._key_host(key), script, (name,), args)

    def _key_name(self, key: str, kind: str) -> str:
        return f"{self._hosts.name(_tag(key))}:{kind}"

    async def _tips(
        self, streams: Sequence[str], channel: str
    ) -> list[tuple[str, int, bool] | None]:
        """Return each stream's last position, and whether a gap marker is owed."""
        args = (self._meta_ms, channel, self._shown)
        parts = list(_parts(streams, self._hosts.index))
        calls = [
            ScriptCall(host, lua.TIP, self._all_keys(some, 0, 2), args)
            for host, some in parts
        ]
        replies, readings = await self._hosts.ask_and_read(calls)
        tips = {
            stream: (epoch, int(number), bool(owed))
            for (host, some), reply in zip(parts, replies, strict=True)
            for stream, (epoch, number, process, owed) in zip(
                some, json.loads(reply), strict=True
            )
            if epoch and process == readings[host].process
        }
        return [tips.get(stream) for stream in streams]

    def _all_keys(self, streams: Iterable[str], *places: int) -> tuple[str, ...]:
        all_keys = map(self._keys, streams)
        return tuple(keys[place] for keys in all_keys for place in places)

    def _key_host(self, key: str) -> int:
        return self._hosts.index(_tag(key))

    def _append_call(
        self,
        attempt: Attempt,
        host: int,
        shares: Sequence[tuple[str, Sequence[Append]]],
    ) -> ScriptCall:
        keys = self._all_keys([stream for stream, _ in shares], 0, 1, 2)
        keys += self._keys(shares[0][0])[3:]  # the word of a cluster
        messages = [
            [(m.key, m.writer, self._hosts.since(m, host), m.data) for m in share]
            for _, share in shares
        ]
        args = (
            self._words.new(),
            self._meta_ms,
            self._age_ms,
            self.length,
            attempt.producer,
            attempt.number,
            attempt.sent[host],
            self._hosts.process(host),
            self._young,
            json.dumps(messages, ensure_ascii=False),
        )
        return ScriptCall(host, lua.APPEND, keys, args)

    def _read_call(self, stream: str, since: str, channel: str) -> ScriptCall:
        place = parse(since)
        epoch, number, moment = "", 0, ""
        if isinstance(place, Position):
            epoch, number = place.epoch, place.number
            moment = str(place.floor.time) if place.floor else ""
        elif isinstance(place, Moment):
            moment = str(place.time)
        place_args = (epoch, number, moment)
        args = (self._words.new(), self._meta_ms, *place_args, channel, self._shown)
        host = self._hosts.index(stream)
        return ScriptCall(host, lua.READ, self._keys(stream), args)


def _parts(
    names: Iterable[str], host_of: Callable[[str], int]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the names of each host, at most ``AT_ONCE`` of them together."""
    by_host: dict[int, list[str]] = {}
    for name in names:
        by_host.setdefault(host_of(name), []).append(name)
    for host, some in by_host.items():
        for start in range(0, len(some), AT_ONCE):
            yield host, some[start : start + AT_ONCE]


def _tag(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _places(reply: list[Any], shown_by: tuple[str, ...] | None) -> Iterator[Appended]:
    epoch, first, is_gap, *overtaken = reply
    for number, late in enumerate(overtaken, first):
        yield Appended(epoch, number, bool(late), bool(is_gap), shown_by)


def _shown_by(
    channels: list[str], routes: list[Any]
) -> Iterator[tuple[str, ...] | None]:
    for route in routes:
        yield tuple(channels[n - 1] for n in route) if route != 0 else None


def _history(reply: list[Any], *, since: str, proved: bool) -> History:
    epoch, tip, complete, *data = reply
    if not since:
        return History(epoch, tip)
    if not (complete and proved):
        return History(epoch, tip, complete=False)
    first = tip - len(data) + 1
    return History(epoch, tip, tuple(map(Entry, range(first, tip + 1), data)))


def _problem(address: dict[str, Any]) -> str:
    try:
        cluster_nodes(address)
        create_pool(connection_options(address))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
