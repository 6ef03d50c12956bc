"""The Lua scripts that read rows, and those for tickets and versions."""

from __future__ import annotations

from turbo.bindings.store.lua_common import FILLED, OPEN
from turbo.runtime.redis.script import Script

__all__ = [
    "ABANDON",
    "BEGIN",
    "BUMP",
    "CLEAR",
    "INVALIDATE",
    "LISTEN",
    "NAMES",
    "PEEK",
    "READ",
    "ROW",
    "TAKE",
]

# KEYS: slots.
NAMES = Script("return redis.call('HKEYS', KEYS[1])")

# ARGV: …, pk.
TAKE = Script(
    OPEN
    + """
if not slot or not (is_filled() or is_being_filled()) then
    return false
end
local ticket = take()
redis.call('HSET', meta, 't', exactly(ticket))
local rank = redis.call('HGET', ranks, ARGV[6])
return {slot.e, ticket, rank and string.sub(rank, 9)}
"""
)

# ARGV: …, an epoch, '1' to return false if the slot is filled or being filled.
BEGIN = Script(
    OPEN
    + """
if slot and ARGV[7] == '1' and (is_filled() or is_being_filled()) then
    return false
end
if not slot then
    forget()
    slot = {e = ARGV[6], n = 0, m = 0, h = 0, t = 0, g = 0, f = 0, v = 0, o = 0}
    redis.call('HSET', slots, name, exactly(now))
end
local ticket = take()
if not is_filled() then
    slot.g = ticket
end
save()
return {slot.e, ticket}
"""
)

# ARGV: …, epoch, ticket.
ABANDON = Script(
    OPEN
    + """
local ticket = tonumber(ARGV[7])
if land(ARGV[6], ticket) then
    miss(ticket)
end
"""
)

PEEK = Script(FILLED + "return state()")

# ARGV: …, an epoch ('' for none), a number.
# Returns the state and '1', then the changes; or '0', the order and the rows.
READ = Script(
    FILLED
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
    FILLED
    + """
local found = state()
found[5] = redis.call('HGET', rows, ARGV[6])
return found
"""
)

# ARGV: …, milliseconds.
LISTEN = Script(
    FILLED
    + """
local listened_until = math.max(slot.h, now + tonumber(ARGV[6]))
redis.call('HSET', meta, 'h', exactly(listened_until))
return state()
"""
)

BUMP = Script(
    FILLED
    + """
slot.n, slot.m = slot.n + 1, math.max(slot.m, now)
redis.call('DEL', log)
return applied()
"""
)

INVALIDATE = Script(
    OPEN
    + """
if not slot then
    return false
end
miss(slot.t)
return applied()
"""
)

CLEAR = Script(
    OPEN
    + """
local has_listeners = slot and now < slot.h and 1 or 0
forget()
return has_listeners
"""
)
