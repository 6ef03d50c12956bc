"""The Lua scripts that write rows."""

from __future__ import annotations

from turbo.bindings.store.lua_common import OPEN
from turbo.runtime.redis.script import Script

__all__ = [
    "APPLY",
    "REORDER",
    "REPLACE",
]

# For scripts that write rows.
_WRITE = (
    OPEN
    + """
local LAST, ANY = '~', '*'
local function note(change)
    if slot.n > 0 then
        slot.n = slot.n + 1
        redis.call('RPUSH', log, change)
        changes[#changes + 1] = change
    end
end
local function place_of(pk)
    local rank
    if listed then
        rank = string.sub(redis.call('HGET', ranks, pk) or LAST, 1, 8)
    else
        rank = redis.call('HGET', keys, pk)
    end
    return rank .. '\\n' .. pk
end
local function lift(pk)
    local value = redis.call('HGET', rows, pk)
    if not value then
        return nil, nil
    end
    local place = place_of(pk)
    local index = redis.call('ZRANK', order, place)
    redis.call('ZREM', order, place)
    return index, value
end
local function put(pk, key, value, index, old, force)
    redis.call('HSET', rows, pk, value)
    redis.call('HSET', keys, pk, key)
    local place = place_of(pk)
    redis.call('ZADD', order, 0, place)
    local at = redis.call('ZRANK', order, place)
    local action = old and 'update' or 'create'
    if not old or force or old ~= value or index ~= at then
        note('{"action":"' .. action .. '","pk":' .. pk .. ',"index":' .. at
            .. ',"value":' .. value .. '}')
    end
end
local function remove(pk, old)
    if old then
        redis.call('HDEL', rows, pk)
        redis.call('HDEL', keys, pk)
        note('{"action":"delete","pk":' .. pk .. '}')
    end
end
local function in_order()
    local pks = {}
    for place, member in ipairs(redis.call('ZRANGE', order, 0, -1)) do
        pks[place] = string.match(member, '\\n(.*)$')
    end
    return pks
end
local function list(ticket, from, step)
    if ticket <= slot.o then
        return false
    end
    slot.o = ticket
    local before = in_order()
    redis.call('DEL', ranks, order)
    for place = from, #ARGV, step do
        local rank = string.format('%08d', place)
        redis.call('HSET', ranks, ARGV[place], rank .. ARGV[place + 1])
    end
    for _, pk in ipairs(before) do
        redis.call('ZADD', order, 0, place_of(pk))
    end
    local after = table.concat(in_order(), ',')
    if after == table.concat(before, ',') then
        return false
    end
    note('{"action":"order","order":[' .. after .. ']}')
    return true
end
local function listed_key(pk)
    local rank = redis.call('HGET', ranks, pk)
    return rank and string.sub(rank, 9)
end
-- Whether the order just read under a ticket is older than a row that stands in it: one
-- that was written, with another key, under a later ticket.
local function has_lost(ticket, besides)
    if ticket ~= slot.o then
        return false
    end
    for _, pk in ipairs(redis.call('ZRANGEBYSCORE', written, '(' .. ticket, '+inf')) do
        local key = redis.call('HGET', keys, pk)
        if pk ~= besides and key and key ~= ANY and key ~= listed_key(pk) then
            return true
        end
    end
    return false
end
local function answer(is_lost)
    return applied(is_lost and take())
end
"""
)

# ARGV: …, epoch, ticket, pk, '1' if the row is there, key, value, '1' if an order
# follows, the order: pk and key of each row.
APPLY = Script(
    _WRITE
    + """
local ticket, pk, is_there, key = tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1', ARGV[10]
if not land(ARGV[6], ticket) then
    return false
end
if ticket <= math.max(slot.f, tonumber(redis.call('ZSCORE', written, pk) or 0)) then
    return applied()
end
redis.call('ZADD', written, ticket, pk)
local index, old = lift(pk)
local is_listed = ARGV[12] == '1'
local moved = is_listed and list(ticket, 13, 2)
if is_there then
    put(pk, key, ARGV[11], index, old, moved)
else
    remove(pk, old)
end
local is_lost = listed and not is_listed and is_there and ticket > slot.o
    and (key == ANY or key ~= listed_key(pk))
return answer(is_lost or has_lost(ticket, pk))
"""
)

# ARGV: …, epoch, ticket, the order: pk and key of each row.
REORDER = Script(
    _WRITE
    + """
local ticket = tonumber(ARGV[7])
if not land(ARGV[6], ticket) then
    return false
end
list(ticket, 8, 2)
return answer(has_lost(ticket))
"""
)

# ARGV: …, epoch, ticket, then pk, key, value of each row.
REPLACE = Script(
    _WRITE
    + """
local ticket = tonumber(ARGV[7])
if not land(ARGV[6], ticket) then
    return false
end
if ticket <= slot.f then
    return applied()
end
local later, given = {}, {}
for _, pk in ipairs(redis.call('ZRANGEBYSCORE', written, '(' .. ARGV[7], '+inf')) do
    later[pk] = true
end
for place = 8, #ARGV, 3 do
    given[ARGV[place]] = true
end
for _, pk in ipairs(in_order()) do
    if not given[pk] and not later[pk] then
        local _, old = lift(pk)
        remove(pk, old)
    end
end
if listed then
    list(ticket, 8, 3)
end
for place = 8, #ARGV, 3 do
    local pk, key, value = ARGV[place], ARGV[place + 1], ARGV[place + 2]
    local is_same = redis.call('HGET', rows, pk) == value
        and redis.call('HGET', keys, pk) == key
    if not later[pk] and not is_same then
        local index, old = lift(pk)
        put(pk, key, value, index, old, false)
    end
end
slot.f = ticket
if slot.n == 0 then
    slot.n, slot.m = 1, now
end
return answer(has_lost(ticket))
"""
)
