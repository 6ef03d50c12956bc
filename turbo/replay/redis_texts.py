"""
The texts of the log in Redis.

A text has two keys, which have the hash tag of its stream::

    turbo:{z7r3…}:text:1f0c…   hash    r  the writer's run
                                       w  the writer
                                       a  how far it is stored
                                       s  its state
                                       k  its kind
                                       l  until when the writer holds its lease
    turbo:{z7r3…}:words:1f0c…  string  what is written

Times are microseconds of the server's clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

from turbo.replay.hosts import Hosts
from turbo.replay.texts import LEASE, Put, Stored, StoredText, TextPlace, Texts
from turbo.runtime.redis.aclients import ScriptCall
from turbo.runtime.redis.script import Script

__all__ = ["RedisTexts"]

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
"""

# KEYS: the text, its words. ARGV: writer, run, start, data, at, kind, state, the
# microseconds of a lease, the milliseconds to keep the text.
# Returns the run (0 if another writer has the text), and how far it is stored.
PUT = Script(
    _NOW
    + """
local writer, run, data, kind = ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[6]
local held = redis.call('HMGET', KEYS[1], 'r', 'w', 'a', 's', 'l')
local at, state = tonumber(held[3]), held[4]
if held[2] ~= writer then
    local last = tonumber(held[1] or 0)
    if held[2] and (run > 0 or state == 'writing' and tonumber(held[5]) > now) then
        return {0, 0}
    end
    if run == 0 then
        run = math.max(now, last + 1)
    end
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'r', string.format('%d', run), 'w', writer,
        'a', 0, 's', 'writing', 'k', kind)
    at, state = 0, 'writing'
else
    run = tonumber(held[1])
    if at > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
        at = 0  -- a server that lacks memory has taken them away
        redis.call('HSET', KEYS[1], 'a', 0)
    end
end
local fits = kind ~= 'text' or tonumber(ARGV[3]) == at
if state == 'writing' and fits then
    redis.call(kind == 'text' and 'APPEND' or 'SET', KEYS[2], data)
    at = tonumber(ARGV[5])
    redis.call('HSET', KEYS[1], 'a', ARGV[5], 's', ARGV[7], 'k', kind)
end
redis.call('HSET', KEYS[1], 'l', string.format('%d', now + ARGV[8]))
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[9])
return {string.format('%d', run), at}
"""
)

# KEYS: the text, its words. Returns run, at, state, kind, the words; or nothing.
READ = Script(
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'r', 'a', 's', 'k', 'l')
if not held[1] then
    return false
end
local state = held[3]
if state == 'writing' and tonumber(held[5]) <= now then
    state = 'silent'
end
local words = redis.call('GET', KEYS[2])
if not words and tonumber(held[2]) > 0 then
    return false
end
return {held[1], held[2], state, held[4], words or ''}
"""
)


class RedisTexts(Texts):
    """Texts on the hosts of a log, with one script for each."""

    def __init__(self, hosts: Hosts, *, age: float) -> None:
        self._hosts = hosts
        self._age_ms = max(1, round(age * 1_000))

    async def put(self, puts: Sequence[Put]) -> list[Stored]:
        """Store parts of texts, with one round trip to each host."""
        replies = await self._hosts.ask([self._put_call(put) for put in puts])
        return [Stored(int(run), int(at)) for run, at in replies]

    async def read(self, places: Sequence[TextPlace]) -> list[StoredText | None]:
        """Return each text, with one round trip to each host."""
        replies = await self._hosts.ask([self._call(READ, place) for place in places])
        return [reply and _written(reply) for reply in replies]

    def _put_call(self, put: Put) -> ScriptCall:
        lease = round(LEASE * 1_000_000)
        return self._call(
            PUT,
            put.place,
            put.writer,
            put.run,
            put.start,
            put.data,
            put.at,
            put.kind,
            put.state,
            lease,
            self._age_ms,
        )

    def _call(self, script: Script, place: TextPlace, *args: str | int) -> ScriptCall:
        tagged = self._hosts.name(place.stream)
        id = hashlib.sha256(place.id.encode(errors="surrogatepass")).hexdigest()[:32]
        keys = f"{tagged}:text:{id}", f"{tagged}:words:{id}"
        return ScriptCall(self._hosts.index(place.stream), script, keys, args)


def _written(reply: list[Any]) -> StoredText:
    run, at, state, kind, data = reply
    return StoredText(int(run), int(at), state, kind, cast(str, data))
