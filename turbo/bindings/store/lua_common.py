"""
The format of the store's data in Redis, and the common beginning of its Lua scripts.

All slots of a class have one hash tag, so that they are in one slot of a cluster::

    turbo:{bindings.<class>}:slots  hash    the names of its slots

and for each slot, behind ``turbo:{bindings.<class>}:<slot>:``

    meta     hash    e  epoch
                     p  what identifies the server's data
                     n  number of the version
                     m  time of the version
                     c  number of rows
                     h  time until which changes are broadcast
                     t  last ticket taken
                     g  ticket of the process that is filling it
                     f  every row was read under this or later
                     v  the last ticket that was missed
                     o  the order was read under this
    rows     hash    pk → value
    keys     hash    pk → key
    ranks    hash    pk → place in the list, in 8 digits, and key; if listed
    order    zset    key or rank, line feed, pk; all scored 0
    out      zset    <ticket>:<time taken>, scored by the ticket
    written  zset    pk, scored by the ticket; only while an earlier ticket is out
    log      list    the last changes, one a version

Times are milliseconds of the server's clock. If a part of a slot is gone, or ``p`` is
not what the server answers now, the whole slot is deleted, because its version may be
older than one that clients have seen.
"""

from __future__ import annotations

from turbo.runtime.redis.script import SERVER

__all__ = ["FILLED", "OPEN", "PARTS"]

#: The keys of a slot, in the order in which scripts get them, after ``slots``.
PARTS = ("meta", "rows", "keys", "ranks", "order", "out", "written", "log")

# KEYS: slots, then PARTS. ARGV: the slot's name, milliseconds to keep it, milliseconds
# for which a ticket is valid, length of the log, '1' for a listed binding. Arguments of
# single scripts begin at 6.
OPEN = (
    SERVER
    + """
local slots, meta, rows, keys, ranks, order, out, written, log = unpack(KEYS)
local name, keep, patience, length = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local listed = ARGV[5] == '1'

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local server = server()
-- A replica, whose data may be old, refuses this; there is no such field.
redis.call('HDEL', meta, '-')

local function exactly(number)
    return string.format('%.0f', number)
end
local function forget()
    redis.call('HDEL', slots, name)
    redis.call('DEL', meta, rows, keys, ranks, order, out, written, log)
end
local function open()
    local fields = {'n', 'm', 'c', 'h', 't', 'g', 'f', 'v', 'o'}
    local held = redis.call('HMGET', meta, 'e', 'p', unpack(fields))
    if not held[1] then
        redis.call('HDEL', slots, name)
        return nil
    end
    local opened = {e = held[1]}
    for place, field in ipairs(fields) do
        opened[field] = tonumber(held[place + 2])
    end
    local whole = held[2] == server
        and redis.call('HEXISTS', slots, name) == 1
        and redis.call('HLEN', rows) == opened.c
        and redis.call('ZCARD', order) == opened.c
    if not whole then
        forget()
        return nil
    end
    return opened
end
local slot = open()
local function renew()
    redis.call('PEXPIRE', slots, keep)
    for place = 2, 9 do
        redis.call('PEXPIRE', KEYS[place], keep)
    end
end
local changes = {}
local function save()
    local state = slot
    if #changes > 0 then
        state.m = math.max(state.m, now)
        redis.call('LTRIM', log, -length, -1)
    end
    state.c = redis.call('HLEN', rows)
    local fields = {'e', state.e, 'p', server}
    for _, field in ipairs({'n', 'm', 'c', 'h', 't', 'g', 'f', 'v', 'o'}) do
        fields[#fields + 1] = field
        fields[#fields + 1] = exactly(state[field])
    end
    redis.call('HSET', meta, unpack(fields))
    local first = redis.call('ZRANGE', out, 0, 0, 'WITHSCORES')
    if first[1] then
        redis.call('ZREMRANGEBYSCORE', written, '-inf', first[2])
    else
        redis.call('DEL', written)
    end
    renew()
end
local function miss(ticket)
    if ticket > slot.v then
        slot.v = ticket
        redis.call('HSET', meta, 'v', exactly(ticket))
    end
end
local function settle()
    while true do
        local first = redis.call('ZRANGE', out, 0, 0)[1]
        if not first then
            return
        end
        local ticket, taken = string.match(first, '^(%d+):(%d+)$')
        if now - taken <= patience then
            return
        end
        redis.call('ZREM', out, first)
        miss(tonumber(ticket))
    end
end
if slot then
    settle()
end
local function is_filled()
    return slot.f > slot.v
end
local function is_being_filled()
    return slot.g > slot.v and redis.call('ZCOUNT', out, slot.g, slot.g) == 1
end
local function take()
    slot.t = slot.t + 1
    redis.call('ZADD', out, slot.t, exactly(slot.t) .. ':' .. exactly(now))
    return slot.t
end
local function land(epoch, ticket)
    if not slot or epoch ~= slot.e then
        return false
    end
    if redis.call('ZREMRANGEBYSCORE', out, ticket, ticket) == 0 then
        miss(ticket)
        return false
    end
    return true
end
local function applied(reorder)
    save()
    local has_listeners = now < slot.h and 1 or 0
    return {slot.e, slot.n, has_listeners, reorder or 0, changes}
end
local function state()
    return {slot.e, slot.n, exactly(slot.m), exactly(now)}
end
"""
)

# For scripts that only read; they return false unless the slot is filled.
FILLED = (
    OPEN
    + """
if not slot or not is_filled() then
    return false
end
if redis.call('PTTL', meta) * 2 < tonumber(keep) then
    renew()
end
"""
)
