"""
The store's Lua scripts, and the shape of its data in Redis.

All slots of a class have one hash tag, so that they lie in one slot of a cluster::

    turbo:{<class>}:slots           hash    the names of its slots
    turbo:{<class>}:<slot>:book     hash    e  epoch
                                            p  the server process that wrote last
                                            n  number of the version
                                            m  time of the version
                                            c  number of rows
                                            b  whether it is filled
                                            h  time until which somebody listens
                                            t  last ticket taken
                                            g  ticket of who is filling it
                                            f  every row was written under this or later
                                            o  the order was written under this
    turbo:{<class>}:<slot>:rows     hash    pk → value
    turbo:{<class>}:<slot>:keys     hash    pk → key
    turbo:{<class>}:<slot>:ranks    hash    pk → place in the list, of a listed binding
    turbo:{<class>}:<slot>:order    zset    key or rank, line feed, pk; all scored 0
    turbo:{<class>}:<slot>:out      zset    <ticket>:<time taken>, scored by the ticket
    turbo:{<class>}:<slot>:written  zset    pk, scored by the ticket; while others are out
    turbo:{<class>}:<slot>:log      list    the last changes, one a version

Times are milliseconds of the server's clock. A slot of which a part is gone, or that
another server process wrote, is forgotten as a whole: it may be older than what was
told of it.
"""

from __future__ import annotations

from turbo.replay.scripts import Script

__all__ = [
    "ABANDON",
    "APPLY",
    "BEGIN",
    "BUMP",
    "CLEAR",
    "INVALIDATE",
    "LISTEN",
    "PARTS",
    "PEEK",
    "READ",
    "REORDER",
    "REPLACE",
    "ROW",
    "TAKE",
]

#: The keys of a slot, in the order in which the scripts take them, after ``slots``.
PARTS = ("book", "rows", "keys", "ranks", "order", "out", "written", "log")

# KEYS: slots, then PARTS. ARGV: the slot's name, milliseconds to keep it, milliseconds
# for which a ticket is good, length of the log, '1' for a listed binding; more from 6.
_OPEN = """
local slots, book, rows, keys, ranks, order, out, written, log = unpack(KEYS)
local name, keep, patience, length = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local listed = ARGV[5] == '1'

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local info = redis.pcall('INFO', 'server')
local process = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''

local function exactly(number)
    return string.format('%.0f', number)
end
local function forget()
    redis.call('HDEL', slots, name)
    redis.call('DEL', book, rows, keys, ranks, order, out, written, log)
end
local function open()
    local fields = {'n', 'm', 'c', 'b', 'h', 't', 'g', 'f', 'o'}
    local held = redis.call('HMGET', book, 'e', 'p', unpack(fields))
    if not held[1] then
        redis.call('HDEL', slots, name)
        return nil
    end
    local opened = {e = held[1]}
    for place, field in ipairs(fields) do
        opened[field] = tonumber(held[place + 2])
    end
    local whole = held[2] == process and redis.call('HEXISTS', slots, name) == 1
        and redis.call('HLEN', rows) == opened.c and redis.call('ZCARD', order) == opened.c
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
    local fields = {'e', state.e, 'p', process}
    for _, field in ipairs({'n', 'm', 'c', 'b', 'h', 't', 'g', 'f', 'o'}) do
        fields[#fields + 1] = field
        fields[#fields + 1] = exactly(state[field])
    end
    redis.call('HSET', book, unpack(fields))
    local first = redis.call('ZRANGE', out, 0, 0, 'WITHSCORES')
    if first[1] then
        redis.call('ZREMRANGEBYSCORE', written, '-inf', first[2])
    else
        redis.call('DEL', written)
    end
    renew()
end
local function miss(ticket)
    if ticket > slot.f and slot.b == 1 then
        slot.b = 0
        redis.call('HSET', book, 'b', 0)
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
local function is_out(ticket)
    return redis.call('ZCOUNT', out, ticket, ticket) == 1
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
    local heeded = now < slot.h and 1 or 0
    return {slot.e, slot.n, heeded, reorder or 0, changes}
end
local function state()
    return {slot.e, slot.n, exactly(slot.m), exactly(now)}
end
"""

# For scripts that only read: without a filled slot there is nothing to be said.
_FILLED = (
    _OPEN
    + """
if not slot or slot.b == 0 then
    return false
end
if redis.call('PTTL', book) * 2 < tonumber(keep) then
    renew()
end
"""
)

# For scripts that write rows.
_WRITE = (
    _OPEN
    + """
local LAST = '~'
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
        rank = redis.call('HGET', ranks, pk) or LAST
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
        redis.call('HSET', ranks, ARGV[place], string.format('%08d', place))
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
"""
)

# ARGV: …, pk.
TAKE = Script(
    _OPEN
    + """
if not slot or (slot.b == 0 and not is_out(slot.g)) then
    return false
end
local ticket = take()
redis.call('HSET', book, 't', exactly(ticket))
return {slot.e, ticket, redis.call('HGET', keys, ARGV[6])}
"""
)

# ARGV: …, an epoch, '1' for only if nobody has filled it or is about to.
BEGIN = Script(
    _OPEN
    + """
local filling = slot and (slot.b == 1 or is_out(slot.g))
if ARGV[7] == '1' and filling then
    return false
end
if not slot then
    forget()
    slot = {e = ARGV[6], n = 0, m = 0, b = 0, h = 0, t = 0, g = 0, f = 0, o = 0}
    redis.call('HSET', slots, name, exactly(now))
end
local ticket = take()
if slot.b == 0 then
    slot.g = ticket
end
save()
return {slot.e, ticket}
"""
)

# ARGV: …, epoch, ticket, pk, '1' if the row is there, key, value, '1' if an order
# follows, the order.
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
local known = redis.call('HGET', keys, pk)
local index, old = lift(pk)
local is_listed = ARGV[12] == '1'
local moved = is_listed and list(ticket, 13, 1)
if is_there then
    put(pk, key, ARGV[11], index, old, moved)
else
    remove(pk, old)
end
if listed and not is_listed and is_there and key ~= known then
    return applied(take())
end
return applied()
"""
)

# ARGV: …, epoch, ticket, the order.
REORDER = Script(
    _WRITE
    + """
local ticket = tonumber(ARGV[7])
if not land(ARGV[6], ticket) then
    return false
end
list(ticket, 8, 1)
return applied()
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
slot.f, slot.b = ticket, 1
if slot.n == 0 then
    slot.n, slot.m = 1, now
end
return applied()
"""
)

# ARGV: …, epoch, ticket.
ABANDON = Script(
    _OPEN
    + """
local ticket = tonumber(ARGV[7])
if land(ARGV[6], ticket) then
    miss(ticket)
end
"""
)

PEEK = Script(_FILLED + "return state()")

# ARGV: …, an epoch ('' for none), a number.
# Returns the state and '1', then the changes; or '0', the order and the rows.
READ = Script(
    _FILLED
    + """
local found = state()
local missed = slot.n - tonumber(ARGV[7])
if ARGV[6] == slot.e and missed >= 0 and missed <= redis.call('LLEN', log) then
    found[5], found[6] = 1, {}
    if missed > 0 then
        found[6] = redis.call('LRANGE', log, -missed, -1)
    end
else
    found[5] = 0
    found[6] = redis.call('ZRANGE', order, 0, -1)
    found[7] = redis.call('HGETALL', rows)
end
return found
"""
)

# ARGV: …, pk.
ROW = Script(
    _FILLED
    + """
local found = state()
found[5] = redis.call('HGET', rows, ARGV[6])
return found
"""
)

# ARGV: …, milliseconds.
LISTEN = Script(
    _FILLED
    + """
local heeded = math.max(slot.h, now + tonumber(ARGV[6]))
redis.call('HSET', book, 'h', exactly(heeded))
return state()
"""
)

BUMP = Script(
    _FILLED
    + """
slot.n, slot.m = slot.n + 1, math.max(slot.m, now)
redis.call('DEL', log)
return applied()
"""
)

INVALIDATE = Script(
    _OPEN
    + """
if not slot then
    return false
end
slot.b = 0
return applied()
"""
)

CLEAR = Script(
    _OPEN
    + """
local heeded = slot and now < slot.h and 1 or 0
forget()
return heeded
"""
)
