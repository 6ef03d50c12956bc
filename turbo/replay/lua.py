"""
The replay log's Lua scripts, and the shape of its data in Redis.

A stream has two keys with one hash tag, so that they lie in one slot of a cluster::

    turbo:{z7r3…}:meta   hash    e  epoch
                                 n  number of the last message
                                 t  time of the last message
                                 c  no message later than this was lost
                                 r  what identifies the server's data
                                 f  batches first sent by then may be unknown
                                 o  a gap marker is owed: a message was overtaken
                                 …  a producer: its last batch, see below
    turbo:{z7r3…}:log    stream  <time>-<number>  k key, w writer, d data

Times are microseconds of the server's clock and grow with every message of a stream. A
gap marker has no ``d``. ``turbo:server`` holds a random word, which is lost when the
data are lost, and what identifies the server's data.

In a cluster the keys of several streams have one hash tag, and a word of their own::

    turbo:{3}:z7r3…:meta   turbo:{3}:z7r3…:log   turbo:{3}:server

An epoch ends when ``r`` is not what the server answers now, because the data that it
reads from its disk, or that it got as a replica, may be older than what was sent to
others. If a Redis user may not call INFO, only lost keys end an epoch.

A producer numbers its batches. Its field in the hash holds the number of the last
batch, the number of the batch's first message, the outcome (``1`` overtaken, ``2``
stored as gaps), and the time. A batch with the same number is a repetition and gets the
same answer; one with a smaller number was sent before it and arrives late.
"""

from __future__ import annotations

from turbo.runtime.redis import script
from turbo.runtime.redis.script import Script

__all__ = ["APPEND", "CLAIM", "FORBID", "FORBIDDEN", "READ", "SERVER", "TIP"]

#: The most producers of a stream that are remembered.
PRODUCERS = 256

_TIME = """
local function microseconds()
    local clock = redis.call('TIME')
    return clock[1] * 1000000 + clock[2]
end
local function word(key, run, new, renew)
    local held = redis.call('GET', key)
    if held and not renew and string.match(held, ' (.*)$') == run then
        return held
    end
    redis.call('SET', key, new .. ' ' .. run)
    return new .. ' ' .. run
end
"""

# KEYS: meta, log; in a cluster the server's word. ARGV: an epoch, if a new one begins;
# milliseconds to keep meta.
_OPEN = (
    script.SERVER
    + _TIME
    + """
local meta, log = KEYS[1], KEYS[2]
local run, now = server(), microseconds()
local held = redis.call('HMGET', meta, 'e', 'n', 't', 'c', 'r', 'f')
local epoch, tip = held[1], tonumber(held[2])
local last, cut = tonumber(held[3]), tonumber(held[4])
local unknown = tonumber(held[6]) or 0
local begun = epoch == false or held[5] ~= run
-- A batch that was sent so shortly before an epoch is not a repetition yet.
local JUST = 5000000
if epoch == false then
    -- Never written, or not for so long that meta went away.
    cut = now - (redis.call('DEL', log) == 1 and 0 or ARGV[2] * 1000)
    epoch, tip, last = ARGV[1], 0, cut
elseif begun then
    -- A moment of this process is later than anything that another one has written.
    redis.call('DEL', meta, log)
    epoch, tip, last, cut = ARGV[1], 0, 0, 0
    if KEYS[3] then
        -- A slot may come back to a process that had it before.
        word(KEYS[3], run, ARGV[1])
    end
end
if begun then
    -- The producers are lost.
    unknown = now - JUST
end
local function exactly(number)
    return string.format('%.0f', number)
end
local function save(...)
    redis.call('HSET', meta, 'n', tip, 't', exactly(last), 'c', exactly(cut), ...)
    if begun then
        redis.call('HSET', meta, 'e', epoch, 'r', run, 'f', exactly(unknown))
    end
    redis.call('PEXPIRE', meta, ARGV[2])
end
"""
)

# ARGV: …, milliseconds to keep the log, its length; a producer, the number of its
# batch, a time not after the batch was first sent, and what identifies the data that
# the moments belong to. Then for each message: key, writer, moment ('' none, '0'
# unknown, '?…' a time when the writer did not know the server, '-1' of data that are
# lost), '1' or, for a gap marker, '0', and the data.
# Returns the epoch, the number of the first message, whether the messages were stored
# as gaps, then for each of them whether it was overtaken.
APPEND = Script(
    _OPEN
    + f"""
local length, producer = tonumber(ARGV[4]), ARGV[5]
local batch, sent = tonumber(ARGV[6]), tonumber(ARGV[7])
local function answer(first, outcome, overtaken)
    local reply = {{epoch, first, outcome == 2 and 1 or 0}}
    for place = 1, (#ARGV - 8) / 5 do
        local is_overtaken = outcome == 1
        if overtaken then
            is_overtaken = overtaken[place]
        end
        reply[3 + place] = is_overtaken and 1 or 0
    end
    return reply
end

local before = redis.call('HGET', meta, producer)
if before then
    local stored, first, outcome = string.match(before, '^(%d+) (%d+) (%d)')
    if tonumber(stored) == batch then
        return answer(tonumber(first), tonumber(outcome))
    elseif tonumber(stored) > batch then
        return redis.error_reply('STALE This attempt was repeated since.')
    end
else
    local others = redis.call('HLEN', meta)
    if others >= {6 + PRODUCERS} then
        -- The producers that have been silent for longest are forgotten.
        local fields, times = redis.call('HGETALL', meta), {{}}
        for place = 1, #fields, 2 do
            if #fields[place] > 1 then
                local time = tonumber(string.match(fields[place + 1], '%d+$'))
                table.insert(times, {{time, fields[place]}})
            end
        end
        table.sort(times, function(one, two) return one[1] < two[1] end)
        for place = 1, #times / 2 do
            redis.call('HDEL', meta, times[place][2])
            unknown = math.max(unknown, times[place][1])
        end
        redis.call('HSET', meta, 'f', exactly(unknown))
    end
end
-- Nobody knows any more whether the batch was stored: gaps are right in any case.
local outcome = sent <= unknown and 2 or 0

local size = redis.call('XLEN', log)
if size == 0 then
    cut = last
end

local function overtakes(key, writer, moment)
    if moment == '' then
        return false
    elseif moment == '-1' or moment ~= '0' and ARGV[8] ~= run then
        return true  -- another writer's message may be lost
    end
    local time = string.match(moment, '^%?(%d+)$')
    if time and tonumber(time) <= math.max(cut, unknown + JUST) then
        return true  -- the same, before this epoch began or this log
    elseif time then
        moment = '0'
    end
    if last < tonumber(moment) then
        return false
    elseif moment ~= '0' and cut >= tonumber(moment) then
        return true
    end
    local names = {{}}
    for name in string.gmatch(key, '[^\\n]+') do
        table.insert(names, '\\n' .. name .. '\\n')
    end
    for _, entry in ipairs(redis.call('XRANGE', log, moment, '+')) do
        for _, name in ipairs(entry[2][4] ~= writer and names or {{}}) do
            if string.find(entry[2][2], name, 1, true) then
                return true
            end
        end
    end
    return false
end

local first, overtaken, owes_gap = tip + 1, {{}}, nil
for place = 9, #ARGV, 5 do
    local key, writer, moment = ARGV[place], ARGV[place + 1], ARGV[place + 2]
    table.insert(overtaken, outcome < 2 and overtakes(key, writer, moment))
    if overtaken[#overtaken] then
        outcome, owes_gap = 1, true
    end
    if size >= length then
        local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', size - length + 1)
        cut = tonumber(string.match(oldest[#oldest][1], '^%d+'))
        size = length - 1
    end
    tip, size = tip + 1, size + 1
    last = math.max(last + 1, now)
    local id = exactly(last) .. '-' .. exactly(tip)
    local names = '\\n' .. key .. '\\n'
    local entry = {{'XADD', log, 'MAXLEN', '=', length, id, 'k', names, 'w', writer}}
    if ARGV[place + 3] == '1' and outcome < 2 then
        table.insert(entry, 'd')
        table.insert(entry, ARGV[place + 4])
    else
        owes_gap = false
    end
    redis.call(unpack(entry))
end
local horizon = last - ARGV[3] * 1000
if redis.call('XTRIM', log, 'MINID', '=', exactly(horizon)) > 0 then
    cut = math.max(cut, horizon - 1)
end
redis.call('PEXPIRE', log, ARGV[3])
local seen = math.max(now, sent)
save(producer, string.format('%.0f %.0f %d %.0f', batch, first, outcome, seen))
if owes_gap then
    redis.call('HSET', meta, 'o', 1)
elseif owes_gap == false then
    redis.call('HDEL', meta, 'o')
end
return answer(first, outcome, overtaken)
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
    reply[#reply + 1] = entries[back][2][6] or false
end
return reply
"""
)

# KEYS: meta. ARGV: milliseconds to keep it.
TIP = Script(
    """
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HMGET', KEYS[1], 'e', 'n', 'r', 'o')
"""
)

# KEYS: the server's word. ARGV: a word, if there is none; '1' to replace it anyway.
# Returns the identity (of the data and the process together), the process, the time.
SERVER = Script(
    script.SERVER
    + _TIME
    + """
local run = server()
local identity = redis.sha1hex(word(KEYS[1], run, ARGV[1], ARGV[2] == '1'))
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

# KEYS: the revocation. ARGV: milliseconds to keep it; a time that had not come when
# this was sent, so that a late attempt does not revoke what was permitted since.
FORBID = Script(
    _TIME
    + """
local time = math.min(microseconds(), tonumber(ARGV[2]))
time = math.max(time, tonumber(redis.call('GET', KEYS[1])) or 0)
redis.call('SET', KEYS[1], string.format('%.0f', time), 'PX', ARGV[1])
"""
)
# GETEX reads like GET, but a replica, whose data may be old, refuses it.
FORBIDDEN = Script("return redis.call('GETEX', KEYS[1])")
