"""
The replay log's Lua scripts, and the shape of its data in Redis.

A stream has two keys with one hash tag, so that they lie in one slot of a cluster::

    turbo:{z7r3…}:meta   hash    e  epoch
                                 n  number of the last message
                                 t  time of the last message
                                 c  no message later than this was lost
                                 r  the server process that wrote last
    turbo:{z7r3…}:log    stream  <time>-<number>  k key, w writer, i token, d data

Times are microseconds of the server's clock and grow with every message of a stream. A
gap marker has no ``d``. ``turbo:server`` holds a random word, which is lost when the
data are lost.

An epoch ends when ``r`` is not the process that answers, because the data that a server
reads from its disk, or that a replica has, may be older than what was sent to others.
"""

from __future__ import annotations

from turbo.runtime.redis.script import Script

__all__ = ["APPEND", "CLAIM", "FORBID", "FORBIDDEN", "READ", "SERVER", "TIP"]

# A Redis user without the right to INFO can be used; then only lost keys end an epoch.
_PROCESS = """
local function process()
    local info = redis.pcall('INFO', 'server')
    return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end
local function microseconds()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
"""

# KEYS: meta, log. ARGV: an epoch, if a new one begins; milliseconds to keep meta.
_OPEN = (
    _PROCESS
    + """
local meta, log = KEYS[1], KEYS[2]
local run, now = process(), microseconds()
local held = redis.call('HMGET', meta, 'e', 'n', 't', 'c', 'r')
local epoch, tip = held[1], tonumber(held[2])
local last, cut = tonumber(held[3]), tonumber(held[4])
local begun = epoch == false or held[5] ~= run
if epoch == false then
    -- Never written, or not for so long that meta went away.
    cut = now - (redis.call('DEL', log) == 1 and 0 or ARGV[2] * 1000)
    epoch, tip, last = ARGV[1], 0, cut
elseif begun then
    -- A moment of this process is later than anything that another one has written.
    redis.call('DEL', log)
    epoch, tip, last, cut = ARGV[1], 0, 0, 0
end
local function exactly(number)
    return string.format('%.0f', number)
end
local function save()
    redis.call('HSET', meta, 'n', tip, 't', exactly(last), 'c', exactly(cut))
    if begun then
        redis.call('HSET', meta, 'e', epoch, 'r', run)
    end
    redis.call('PEXPIRE', meta, ARGV[2])
end
"""
)

# ARGV: …, milliseconds to keep the log, its length, key, writer, moment ('' none, '0'
# unknown), token, whether the token may be there already, data (absent: a gap marker).
APPEND = Script(
    _OPEN
    + """
local length = tonumber(ARGV[4])
local key, writer, moment, token = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local size = redis.call('XLEN', log)
if size == 0 then
    cut = last
end

local stored, names = '\\n' .. key .. '\\n', {}
for name in string.gmatch(key, '[^\\n]+') do
    table.insert(names, '\\n' .. name .. '\\n')
end
local function shared(others)
    for _, name in ipairs(names) do
        if string.find(others, name, 1, true) then
            return true
        end
    end
end

local overtaken = 0
if moment ~= '' and last >= tonumber(moment) then
    if moment ~= '0' and cut >= tonumber(moment) then
        overtaken = 1
    end
    for _, entry in ipairs(redis.call('XRANGE', log, moment, '+')) do
        if entry[2][4] ~= writer and shared(entry[2][2]) then
            overtaken = 1
        end
    end
end
if ARGV[9] == '1' then
    for back, entry in ipairs(redis.call('XREVRANGE', log, '+', '-')) do
        if entry[2][6] == token then
            return {epoch, tip - back + 1, overtaken}
        end
    end
end

if size >= length then
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', size - length + 1)
    cut = tonumber(string.match(oldest[#oldest][1], '^%d+'))
end
tip = tip + 1
last = math.max(last + 1, now)
local id = exactly(last) .. '-' .. exactly(tip)
local head = {'XADD', log, 'MAXLEN', '=', length, id}
for place, value in ipairs({'k', stored, 'w', writer, 'i', token}) do
    head[6 + place] = value
end
if ARGV[10] then
    head[13], head[14] = 'd', ARGV[10]
end
redis.call(unpack(head))
local horizon = last - ARGV[3] * 1000
if redis.call('XTRIM', log, 'MINID', '=', exactly(horizon)) > 0 then
    cut = math.max(cut, horizon - 1)
end
redis.call('PEXPIRE', log, ARGV[3])
save()
return {epoch, tip, overtaken}
"""
)

# ARGV: …, an epoch ('' for none), a number, a moment ('' for none). With both, only
# messages after the number and not before the moment are read.
# Returns epoch, tip, whether complete, then the data of each entry up to the tip.
READ = Script(
    _OPEN
    + """
if begun then
    save()
end
local entries, complete = {}, 0
local missed = tip - ARGV[4]
if ARGV[3] == epoch and missed == 0 then
    complete = 1
elseif ARGV[3] == epoch and missed > 0 and missed <= redis.call('XLEN', log) then
    local lowest = ARGV[5] == '' and '-' or ARGV[5]
    entries = redis.call('XREVRANGE', log, '+', lowest, 'COUNT', missed)
    complete = 1
elseif (ARGV[3] == '' or ARGV[3] == epoch and missed > 0)
    and ARGV[5] ~= '' and tonumber(ARGV[5]) <= now then
    local moment = tonumber(ARGV[5])
    if last < moment then
        complete = 1
    elseif cut < moment and redis.call('XLEN', log) > 0 then
        entries = redis.call('XREVRANGE', log, '+', ARGV[5])
        complete = 1
    end
end
local reply = {epoch, tip, complete}
for back = #entries, 1, -1 do
    reply[#reply + 1] = entries[back][2][8] or false
end
return reply
"""
)

# KEYS: meta. ARGV: milliseconds to keep it.
TIP = Script(
    """
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HMGET', KEYS[1], 'e', 'n', 'r')
"""
)

# KEYS: the server's word. ARGV: a word, if there is none; '1' to replace it anyway.
# Returns the identity (of the data and the process together), the process, the time.
SERVER = Script(
    _PROCESS
    + """
if ARGV[2] == '1' then
    redis.call('SET', KEYS[1], ARGV[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'NX')
end
local run = process()
local identity = redis.sha1hex(redis.call('GET', KEYS[1]) .. run)
return {string.sub(identity, 1, 10), run, microseconds()}
"""
)

# KEYS: the claim. ARGV: milliseconds.
# Returns 0 if the claim succeeds, or else the milliseconds until the key is free.
CLAIM = Script(
    """
if redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1]) then
    return 0
end
return math.max(1, redis.call('PTTL', KEYS[1]))
"""
)

# KEYS: the revocation. ARGV: milliseconds.
FORBID = Script(
    _PROCESS
    + """
redis.call('SET', KEYS[1], string.format('%.0f', microseconds()), 'PX', ARGV[1])
"""
)
FORBIDDEN = Script("return redis.call('GET', KEYS[1])")
