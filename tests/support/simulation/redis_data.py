"""
The data of a simulated Redis server, and the commands that the library uses.

Keys, values and arguments are bytes, as on the wire. A command that is not here is an
error, so that a simulation fails when the library begins to use another one.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

__all__ = ["COMMANDS", "WRITES", "Data", "Refused", "Status", "Values"]


class Refused(Exception):
    """An error reply; its text begins with the kind of the error."""


class Status(bytes):
    """A reply such as OK."""


OK = Status(b"OK")


class Stream:
    """The value of a key of the type stream."""

    def __init__(self) -> None:
        self.entries: list[tuple[tuple[int, int], list[bytes]]] = []

    def __copy__(self) -> Stream:
        other = Stream()
        other.entries = list(self.entries)
        return other


class Values(dict[bytes, tuple[Any, float | None]]):
    """Values with the times at which they expire, in milliseconds."""

    def __deepcopy__(self, memo: Any) -> Values:
        return Values((key, (copy(value), end)) for key, (value, end) in self.items())


class Data:
    """The keys of one server."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now  # in seconds
        self.values = Values()
        #: Keys that the present command has written.
        self.written: dict[bytes, None] = {}
        #: What INFO says.
        self.info: Callable[[], bytes] = lambda: b""

    def milliseconds(self) -> float:
        """Return the time of the server's clock."""
        return self._now() * 1_000

    def microseconds(self) -> int:
        """Return the time of the server's clock."""
        return round(self._now() * 1_000_000)

    def get(self, key: bytes, make: Callable[[], Any] | None = None) -> Any:
        """Return a value, or a new one, or ``None``."""
        held = self.values.get(key)
        if held is not None and (held[1] is None or held[1] > self.milliseconds()):
            return held[0]
        self.values.pop(key, None)
        if make is None:
            return None
        self.values[key] = made, _ = make(), None
        return made

    def put(self, key: bytes, value: Any, expires: float | None = None) -> None:
        """Set a value."""
        self.values[key] = value, expires
        self.written[key] = None

    def write(self, key: bytes) -> None:
        """Note that the value of a key has changed; an empty one goes away."""
        self.written[key] = None
        value = self.values[key][0]
        if not value and not isinstance(value, Stream):
            del self.values[key]

    def copies(self) -> list[tuple[bytes, Any]]:
        """Return what the command has written, and forget it."""
        written, self.written = self.written, {}
        return [
            (key, (copy(held[0]), held[1]) if (held := self.values.get(key)) else None)
            for key in written
        ]

    def apply(self, copies: list[tuple[bytes, Any]]) -> None:
        """Take over what a command has written on another server."""
        for key, held in copies:
            if held is None:
                self.values.pop(key, None)
            else:
                self.values[key] = copy(held[0]), held[1]


Command = Callable[..., Any]
COMMANDS: dict[bytes, Command] = {}
WRITES: set[bytes] = set()


def command(name: str, *, writes: bool = False) -> Callable[[Command], Command]:
    def add(function: Command) -> Command:
        COMMANDS[name.encode()] = function
        if writes:
            WRITES.add(name.encode())
        return function

    return add


# --- Keys and strings


@command("PING")
def ping(data: Data) -> Any:
    return Status(b"PONG")


@command("TIME")
def time(data: Data) -> Any:
    seconds, micro = divmod(data.microseconds(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micro]


@command("INFO")
def info(data: Data, *sections: bytes) -> Any:
    return data.info()


@command("GET")
def get(data: Data, key: bytes) -> Any:
    return data.get(key)


@command("GETEX", writes=True)
def getex(data: Data, key: bytes, *options: bytes) -> Any:
    value = data.get(key)
    if value is not None and options[:1] == (b"PX",):
        data.put(key, value, data.milliseconds() + float(options[1]))
    elif value is not None and options:
        raise NotImplementedError(f"GETEX {options!r} is not simulated.")
    return value


@command("SET", writes=True)
def set_(data: Data, key: bytes, value: bytes, *options: bytes) -> Any:
    options = tuple(option.upper() for option in options)
    if b"NX" in options and data.get(key) is not None:
        return None
    expires = None
    if b"PX" in options:
        expires = data.milliseconds() + int(options[options.index(b"PX") + 1])
    data.put(key, value, expires)
    return OK


@command("DEL", writes=True)
def delete(data: Data, *keys: bytes) -> Any:
    held = [key for key in keys if data.get(key) is not None]
    for key in held:
        del data.values[key]
        data.written[key] = None
    return len(held)


@command("EXISTS")
def exists(data: Data, *keys: bytes) -> Any:
    return sum(data.get(key) is not None for key in keys)


@command("PEXPIRE", writes=True)
def pexpire(data: Data, key: bytes, milliseconds: bytes) -> Any:
    value = data.get(key)
    if value is None:
        return 0
    data.put(key, value, data.milliseconds() + float(milliseconds))
    return 1


@command("EXPIRE", writes=True)
def expire(data: Data, key: bytes, seconds: bytes) -> Any:
    return pexpire(data, key, b"%d" % (int(seconds) * 1_000))


@command("PTTL")
def pttl(data: Data, key: bytes) -> Any:
    if data.get(key) is None:
        return -2
    expires = data.values[key][1]
    return -1 if expires is None else int(expires - data.milliseconds())


# --- Hashes


@command("HMGET")
def hmget(data: Data, key: bytes, *fields: bytes) -> Any:
    held = data.get(key) or {}
    return [held.get(field) for field in fields]


@command("HGET")
def hget(data: Data, key: bytes, field: bytes) -> Any:
    return (data.get(key) or {}).get(field)


@command("HGETALL")
def hgetall(data: Data, key: bytes) -> Any:
    return [part for pair in (data.get(key) or {}).items() for part in pair]


@command("HLEN")
def hlen(data: Data, key: bytes) -> Any:
    return len(data.get(key) or {})


@command("HSET", writes=True)
def hset(data: Data, key: bytes, *pairs: bytes) -> Any:
    held = data.get(key, dict)
    before = len(held)
    held.update(zip(pairs[::2], pairs[1::2], strict=True))
    data.write(key)
    return len(held) - before


@command("HDEL", writes=True)
def hdel(data: Data, key: bytes, *fields: bytes) -> Any:
    held = data.get(key)
    if held is None:
        return 0
    found = sum(held.pop(field, None) is not None for field in fields)
    data.write(key)
    return found


# --- Streams


def entry_id(text: bytes, *, low: bool) -> tuple[float, float]:
    if text in (b"-", b"+"):
        return (0, 0) if text == b"-" else (float("inf"), 0)
    time, _, number = text.partition(b"-")
    return int(time), int(number) if number else (0 if low else float("inf"))


@command("XLEN")
def xlen(data: Data, key: bytes) -> Any:
    stream = data.get(key)
    return len(stream.entries) if stream else 0


def entries_between(
    data: Data, key: bytes, first: bytes, last: bytes
) -> list[tuple[tuple[int, int], list[bytes]]]:
    stream = data.get(key)
    if stream is None:
        return []
    low, high = entry_id(first, low=True), entry_id(last, low=False)
    return [entry for entry in stream.entries if low <= entry[0] <= high]


def shown(entries: Any, options: tuple[bytes, ...]) -> list[Any]:
    if options:
        entries = entries[: int(options[1])]
    return [[b"%d-%d" % place, list(fields)] for place, fields in entries]


@command("XRANGE")
def xrange(data: Data, key: bytes, first: bytes, last: bytes, *options: bytes) -> Any:
    return shown(entries_between(data, key, first, last), options)


@command("XREVRANGE")
def xrevrange(
    data: Data, key: bytes, last: bytes, first: bytes, *options: bytes
) -> Any:
    return shown(entries_between(data, key, first, last)[::-1], options)


@command("XADD", writes=True)
def xadd(data: Data, key: bytes, *arguments: bytes) -> Any:
    limit = None
    if arguments[0].upper() == b"MAXLEN":
        limit, arguments = int(arguments[2]), arguments[3:]
    place, fields = arguments[0], list(arguments[1:])
    stream = data.get(key, Stream)
    time, number = entry_id(place, low=True)
    if stream.entries and (time, number) <= stream.entries[-1][0]:
        raise Refused("ERR The ID specified in XADD is equal or smaller than the top")
    stream.entries.append(((int(time), int(number)), fields))
    if limit is not None:
        del stream.entries[:-limit]
    data.write(key)
    return place


@command("XTRIM", writes=True)
def xtrim(data: Data, key: bytes, kind: bytes, *arguments: bytes) -> Any:
    stream = data.get(key)
    if stream is None:
        return 0
    before = len(stream.entries)
    if kind.upper() == b"MINID":
        low = entry_id(arguments[-1], low=True)
        stream.entries = [entry for entry in stream.entries if entry[0] >= low]
    else:
        del stream.entries[: -int(arguments[-1])]
    data.write(key)
    return before - len(stream.entries)


@command("XDEL", writes=True)
def xdel(data: Data, key: bytes, *places: bytes) -> Any:
    stream = data.get(key)
    if stream is None:
        return 0
    before = len(stream.entries)
    gone = {entry_id(place, low=True) for place in places}
    stream.entries = [entry for entry in stream.entries if entry[0] not in gone]
    data.write(key)
    return before - len(stream.entries)


# --- Sorted sets


def ranked(held: dict[bytes, float]) -> list[tuple[float, bytes]]:
    return sorted((score, member) for member, score in held.items())


@command("ZADD", writes=True)
def zadd(data: Data, key: bytes, *pairs: bytes) -> Any:
    held = data.get(key, dict)
    before = len(held)
    for score, member in zip(pairs[::2], pairs[1::2], strict=True):
        held[member] = float(score)
    data.write(key)
    return len(held) - before


@command("ZREM", writes=True)
def zrem(data: Data, key: bytes, *members: bytes) -> Any:
    held = data.get(key)
    if held is None:
        return 0
    found = sum(held.pop(member, None) is not None for member in members)
    data.write(key)
    return found


@command("ZSCORE")
def zscore(data: Data, key: bytes, member: bytes) -> Any:
    score = (data.get(key) or {}).get(member)
    return None if score is None else b"%.17g" % score


@command("ZRANGE")
def zrange(data: Data, key: bytes, first: bytes, last: bytes, *options: bytes) -> Any:
    found = ranked(data.get(key) or {})[int(first) :]
    if int(last) != -1:
        found = found[: int(last) - int(first) + 1]
    if not options:
        return [member for _, member in found]
    return [item for score, member in found for item in (member, b"%.17g" % score)]


def bound(text: bytes) -> float:
    return float(text)


@command("ZRANGEBYSCORE")
def zrangebyscore(data: Data, key: bytes, low: bytes, high: bytes) -> Any:
    found = ranked(data.get(key) or {})
    return [member for score, member in found if bound(low) <= score <= bound(high)]


@command("ZCOUNT")
def zcount(data: Data, key: bytes, low: bytes, high: bytes) -> Any:
    held = data.get(key) or {}
    return sum(bound(low) <= score <= bound(high) for score in held.values())


@command("ZCARD")
def zcard(data: Data, key: bytes) -> Any:
    return len(data.get(key) or {})


@command("ZREMRANGEBYSCORE", writes=True)
def zremrangebyscore(data: Data, key: bytes, low: bytes, high: bytes) -> Any:
    held = data.get(key)
    if held is None:
        return 0
    gone = [m for m, score in held.items() if bound(low) <= score <= bound(high)]
    if gone:
        zrem(data, key, *gone)
    return len(gone)


@command("ZPOPMIN", writes=True)
def zpopmin(data: Data, key: bytes) -> Any:
    held = data.get(key)
    if not held:
        return []
    score, member = ranked(held)[0]
    zrem(data, key, member)
    return [member, b"%.17g" % score]
