"""
The Lua scripts of leases, and the shape of their data in Redis.

A stream has a hash, and what concerns all streams of a host is kept once::

    turbo:{z7r3…}:present  hash        member: since, until, told, busy, holder=until …
    turbo:due              sorted set  stream member: the time of its next change
    turbo:watch            hash        w word, r what identifies the server's data,
                                       b begun, s seen, q quiet until

Times are microseconds of the server's clock; ``told`` is 0 or 1. In a cluster all keys
of a script have one hash tag.
"""

from __future__ import annotations

from turbo.replay.lua import TIME
from turbo.runtime.redis import script
from turbo.runtime.redis.script import Script

__all__ = ["EXTEND", "HOLD", "LOOK", "MEMBERS", "SETTLE", "TAKE"]

# KEYS: watch, due. ARGV: a word if a new one is needed; the word that the caller knew;
# the most members to return; milliseconds to keep the keys; the times gap and quiet.
# Returns the word, whether the caller's leases may be lost, whether it is quiet,
# whether anybody holds a lease, then the members whose time has come.
LOOK = Script(
    script.SERVER
    + TIME
    + """
local run, now = server(), microseconds()
local gap, lasting = tonumber(ARGV[5]), tonumber(ARGV[6])
local held = redis.call('HMGET', KEYS[1], 'w', 'r', 'b', 's', 'q')
local word, begun = held[1], tonumber(held[3]) or now
local seen, quiet = tonumber(held[4]) or now, tonumber(held[5]) or 0
local known, is_lost = ARGV[2], 0
if not word or held[2] ~= run then
    if word or known ~= '' then
        quiet = now + lasting
    end
    word, begun = ARGV[1], now
end
if known ~= '' and known ~= word then
    is_lost, quiet = 1, math.max(quiet, begun + lasting)
end
local is_used = redis.call('EXISTS', KEYS[2])
if is_used == 1 and now - seen > gap then
    quiet = now + lasting
end
redis.call('HSET', KEYS[1], 'w', word, 'r', run, 'b', exactly(begun),
    's', exactly(now), 'q', exactly(quiet))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local reply = {word, is_lost, now < quiet and 1 or 0, is_used}
if now >= quiet then
    local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', exactly(now),
        'LIMIT', 0, ARGV[3])
    for place, member in ipairs(due) do
        reply[4 + place] = member
    end
end
return reply
"""
)

# find(key, name) returns a member or nil, and save() keeps it, as long as something has
# to be known of it.
_MEMBERS = (
    TIME
    + """
local now = microseconds()
local function find(key, name)
    local text = redis.call('HGET', key, name)
    if not text then
        return nil
    end
    local since, till, told, busy, rest =
        string.match(text, '^(%d+) (%d+) (%d) (%d+)(.*)$')
    local member = {since = tonumber(since), till = tonumber(till),
        told = told == '1', busy = tonumber(busy), holders = {}}
    for holder, over in string.gmatch(rest, ' (%w+)=(%d+)') do
        member.holders[holder] = tonumber(over)
    end
    return member
end
local function save(key, due, stream, name, member, keep)
    local place = stream .. ' ' .. name
    if member.till <= now and not member.told and member.busy == 0 then
        redis.call('HDEL', key, name)
        redis.call('ZREM', due, place)
        return
    end
    local text = string.format('%d %d %d %d', member.since, member.till,
        member.told and 1 or 0, member.busy)
    for holder, over in pairs(member.holders) do
        text = text .. string.format(' %s=%d', holder, over)
    end
    local time = member.told and member.till or 0
    if member.busy > 0 then
        time = member.busy
    end
    redis.call('HSET', key, name, text)
    redis.call('ZADD', due, exactly(time), place)
    redis.call('PEXPIRE', key, keep)
    redis.call('PEXPIRE', due, keep)
end
"""
)

# KEYS: watch, due, then what is present in each stream. ARGV: milliseconds to keep the
# keys; as JSON, each stream with its leases: member, microseconds, age, and whether it
# was held before; the holder. Returns whether they are held.
HOLD = Script(
    _MEMBERS
    + """
local held = redis.call('HMGET', KEYS[1], 'w', 'q')
if not held[1] then
    return 0
end
local is_quiet = now < (tonumber(held[2]) or 0)
for place, share in ipairs(cjson.decode(ARGV[2])) do
    local key = KEYS[2 + place]
    for order, lease in ipairs(share[2]) do
        local name, lasting, age, is_kept = unpack(lease)
        local member = find(key, name)
        if not member then
            member = {since = now - age + order, told = is_kept and is_quiet,
                busy = 0, holders = {}}
        end
        member.holders[ARGV[3]] = now + lasting
        member.till = 0
        for holder, over in pairs(member.holders) do
            if over <= now then
                member.holders[holder] = nil
            end
            member.till = math.max(member.till, over)
        end
        save(key, KEYS[2], share[1], name, member, ARGV[1])
    end
end
return 1
"""
)

# KEYS: due, then what is present in each stream. ARGV: milliseconds to keep the keys;
# as JSON, each stream with the members whose time has come; microseconds after which
# another process tells. Returns, as JSON, the changes: the place of the stream, the
# member, whether it has joined, and the token.
TAKE = Script(
    _MEMBERS
    + """
local changes = {}
for place, share in ipairs(cjson.decode(ARGV[2])) do
    local key = KEYS[1 + place]
    for _, name in ipairs(share[2]) do
        local member = find(key, name)
        if not member then
            redis.call('ZREM', KEYS[1], share[1] .. ' ' .. name)
        elseif member.busy <= now then
            local is_present, was_taken = member.till > now, member.busy > 0
            member.busy = 0
            if is_present ~= member.told or was_taken then
                member.busy = now + tonumber(ARGV[3])
                table.insert(changes, {place, name, is_present, exactly(member.busy)})
            end
            save(key, KEYS[1], share[1], name, member, ARGV[1])
        end
    end
end
return cjson.encode(changes)
"""
)

# KEYS: due, then what is present in each stream. ARGV: milliseconds to keep the keys;
# as JSON, each stream with its changes: member, whether it has joined, token.
SETTLE = Script(
    _MEMBERS
    + """
for place, share in ipairs(cjson.decode(ARGV[2])) do
    local key = KEYS[1 + place]
    for _, change in ipairs(share[2]) do
        local name, has_joined, token = unpack(change)
        local member = find(key, name)
        if member and member.busy == tonumber(token) then
            member.busy, member.told = 0, has_joined
            if not has_joined then
                member.since = now
            end
            save(key, KEYS[1], share[1], name, member, ARGV[1])
        end
    end
end
"""
)

# KEYS: due, then what is present in each stream. ARGV: milliseconds to keep the keys;
# as JSON, each stream with its changes, as for SETTLE; microseconds after which another
# process tells. Returns, as TAKE, the changes that nobody else has taken.
EXTEND = Script(
    _MEMBERS
    + """
local changes = {}
for place, share in ipairs(cjson.decode(ARGV[2])) do
    local key = KEYS[1 + place]
    for _, change in ipairs(share[2]) do
        local name, has_joined, token = unpack(change)
        local member = find(key, name)
        if member and member.busy == tonumber(token) then
            member.busy = now + tonumber(ARGV[3])
            save(key, KEYS[1], share[1], name, member, ARGV[1])
            table.insert(changes, {place, name, has_joined, exactly(member.busy)})
        end
    end
end
return cjson.encode(changes)
"""
)

# KEYS: what is present in a stream. Returns the time, then each member and what is
# known of it.
MEMBERS = Script(
    TIME
    + """
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, exactly(microseconds()))
return reply
"""
)
