"""
The replay log's Lua scripts, and the shape of its data in Redis.

A stream has three keys with one hash tag, so that they lie in one slot of a cluster::

    turbo:{z7r3…}:meta   hash    e  epoch
                                 n  number of the last message
                                 t  time of the last message
                                 c  no message later than this was lost
                                 r  what identifies the server's data
                                 f  batches first sent by then may be unknown
                                 o  a gap marker is owed: a message was overtaken
                                 …  a producer: its last batch, see below
    turbo:{z7r3…}:log    stream  <time>-<number>  k key, w writer, d data
    turbo:{z7r3…}:shown  sorted set  a process that shows it  time until when

Times are microseconds of the server's clock and grow with every message of a stream. A
gap marker has no ``d``. ``turbo:server`` holds a random word, which is lost when the
data are lost, and what identifies the server's data.

In a cluster the keys of several streams have one hash tag, and a word of their own::

    turbo:{3}:z7r3…:meta   turbo:{3}:z7r3…:log   …:shown   turbo:{3}:server

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

__all__ = [
    "APPEND",
    "CLAIM",
    "FORBID",
    "FORBIDDEN",
    "HIDE",
    "READ",
    "SERVER",
    "SHOWN",
    "TIME",
    "TIP",
]

#: The most producers of a stream that are remembered.
PRODUCERS = 256

TIME = """
-- A batch that was sent so shortly before an epoch is not a repetition yet.
local JUST = 5000000
local function exactly(number)
    return string.format('%d', number)
end
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

# show() notes that a process shows a stream; '' is none.
_SHOW = """
local function show(key, channel, seconds, now)
    if channel ~= '' then
        local over = now + seconds * 1000000
        redis.call('ZADD', key, string.format('%d', over), channel)
        redis.call('EXPIRE', key, seconds)
    end
end
"""

# shown(a time, key, seconds) returns the places, in channels, of the processes that
# show a stream. It returns 0 for so many seconds after the time: they may not have
# noted it again since. It stands behind TIME and `local now`.
_SHOWN = """
local channels, places = {}, {}
local function shown(unknown, key, young)
    if now - unknown < young * 1000000 + JUST then
        return 0
    end
    local found = redis.call('ZRANGEBYSCORE', key, exactly(now), '+inf')
    for number, channel in ipairs(found) do
        if not places[channel] then
            table.insert(channels, channel)
            places[channel] = #channels
        end
        found[number] = places[channel]
    end
    return found
end
"""

# open(meta, log, word's key or nil, an epoch if a new one begins, milliseconds to keep
# meta, a producer or nil) returns what is known of a stream; save() notes it again.
_OPEN = (
    script.SERVER
    + TIME
    + """
local run, now = server(), microseconds()
local function open(meta, log, word_key, new, keep, producer)
    local held = redis.call(
        'HMGET', meta, 'e', 'n', 't', 'c', 'r', 'f', producer or '')
    local stream = {
        meta = meta, log = log, keep = keep, epoch = held[1], tip = tonumber(held[2]),
        last = tonumber(held[3]), cut = tonumber(held[4]),
        unknown = tonumber(held[6]) or 0, begun = held[1] == false or held[5] ~= run,
        before = held[7]
    }
    if stream.epoch == false then
        -- Never written, or not for so long that meta went away.
        stream.cut = now - (redis.call('DEL', log) == 1 and 0 or keep * 1000)
        stream.epoch, stream.tip, stream.last = new, 0, stream.cut
    elseif stream.begun then
        -- A moment of this process is later than anything that another one has written.
        redis.call('DEL', meta, log)
        stream.epoch, stream.tip, stream.last, stream.cut = new, 0, 0, 0
        if word_key then
            -- A slot may come back to a process that had it before.
            word(word_key, run, new)
        end
    end
    if stream.begun then
        -- The producers are lost.
        stream.unknown, stream.before = now - JUST, false
    end
    return stream
end
local function save(stream, ...)
    redis.call('HSET', stream.meta, 'n', stream.tip, 't', exactly(stream.last),
        'c', exactly(stream.cut), ...)
    if stream.begun then
        redis.call('HSET', stream.meta, 'e', stream.epoch, 'r', run,
            'f', exactly(stream.unknown))
    end
    redis.call('PEXPIRE', stream.meta, stream.keep)
end
"""
)

# KEYS: meta, log and shown of each stream; in a cluster then the server's word. ARGV:
# an epoch, if a new one begins, milliseconds to keep meta and the log, its length; a
# producer, the number of its batch, a time not after the batch was first sent, and what
# identifies the data that the moments belong to; for how many seconds an epoch does not
# know which processes show its streams. Then, as JSON, the messages of each
# stream: key, writer, moment ('' none, '0' unknown, '?…' a time when the writer did not
# know the server, '-1' of data that are lost), and data, null for a gap marker.
# Returns, as JSON, the processes; for each stream those that show it, by their places,
# or 0 if this is not known; and for each stream its epoch, the number of the first
# message, whether the messages were stored as gaps, and for each of them whether it was
# overtaken. An empty list may come as {}.
APPEND = Script(
    _OPEN
    + _SHOWN
    + f"""
local keep, age, length, producer = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local batch, sent, young = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[9]
local shares = cjson.decode(ARGV[10])
local word_key = KEYS[3 * #shares + 1]

local function answer(stream, count, first, outcome, overtaken)
    local reply = {{stream.epoch, first, outcome == 2 and 1 or 0}}
    for place = 1, count do
        local is_overtaken = outcome == 1
        if overtaken then
            is_overtaken = overtaken[place]
        end
        reply[3 + place] = is_overtaken and 1 or 0
    end
    return reply
end

local function forget_producers(stream)
    -- Those that have been silent for longest are forgotten.
    local meta = stream.meta
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
        stream.unknown = math.max(stream.unknown, times[place][1])
    end
    redis.call('HSET', meta, 'f', exactly(stream.unknown))
end

local function overtakes(stream, key, writer, moment)
    if moment == '' then
        return false
    elseif moment == '-1' or moment ~= '0' and ARGV[8] ~= run then
        return true  -- another writer's message may be lost
    end
    local time = string.match(moment, '^%?(%d+)$')
    if time and tonumber(time) <= math.max(stream.cut, stream.unknown + JUST) then
        return true  -- the same, before this epoch began or this log
    elseif time then
        moment = '0'
    end
    if stream.last < tonumber(moment) then
        return false
    elseif moment ~= '0' and stream.cut >= tonumber(moment) then
        return true
    end
    local names = {{}}
    for name in string.gmatch(key, '[^\\n]+') do
        table.insert(names, '\\n' .. name .. '\\n')
    end
    for _, entry in ipairs(redis.call('XRANGE', stream.log, moment, '+')) do
        for _, name in ipairs(entry[2][4] ~= writer and names or {{}}) do
            if string.find(entry[2][2], name, 1, true) then
                return true
            end
        end
    end
    return false
end

local function append(stream, messages)
    local log, before, count = stream.log, stream.before, #messages
    if before then
        local stored, first, outcome = string.match(before, '^(%d+) (%d+) (%d)')
        if tonumber(stored) == batch then
            return answer(stream, count, tonumber(first), tonumber(outcome))
        elseif tonumber(stored) > batch then
            return redis.error_reply('STALE This attempt was repeated since.')
        end
    elseif redis.call('HLEN', stream.meta) >= {6 + PRODUCERS} then
        forget_producers(stream)
    end
    -- Nobody knows any more whether the batch was stored: gaps are right in any case.
    local outcome = sent <= stream.unknown and 2 or 0
    local size = redis.call('XLEN', log)
    if size == 0 then
        stream.cut = stream.last
    end
    local first, overtaken, owes_gap = stream.tip + 1, {{}}, nil
    for _, message in ipairs(messages) do
        local key, writer, moment, data = unpack(message)
        local late = outcome < 2 and overtakes(stream, key, writer, moment)
        table.insert(overtaken, late)
        if late then
            outcome, owes_gap = 1, true
        end
        if size >= length then
            local oldest = redis.call('XRANGE', log, '-', '+',
                'COUNT', size - length + 1)
            stream.cut = tonumber(string.match(oldest[#oldest][1], '^%d+'))
            size = length - 1
        end
        stream.tip, size = stream.tip + 1, size + 1
        stream.last = math.max(stream.last + 1, now)
        local id = exactly(stream.last) .. '-' .. exactly(stream.tip)
        local names = '\\n' .. key .. '\\n'
        local entry = {{'XADD', log, 'MAXLEN', '=', length, id,
            'k', names, 'w', writer}}
        if data ~= cjson.null and outcome < 2 then
            table.insert(entry, 'd')
            table.insert(entry, data)
        else
            owes_gap = false
        end
        redis.call(unpack(entry))
    end
    local horizon = stream.last - age * 1000
    if redis.call('XTRIM', log, 'MINID', '=', exactly(horizon)) > 0 then
        stream.cut = math.max(stream.cut, horizon - 1)
    end
    redis.call('PEXPIRE', log, age)
    local seen = math.max(now, sent)
    save(stream, producer,
        string.format('%d %d %d %d', batch, first, outcome, seen))
    if owes_gap then
        redis.call('HSET', stream.meta, 'o', 1)
    elseif owes_gap == false then
        redis.call('HDEL', stream.meta, 'o')
    end
    return answer(stream, count, first, outcome, overtaken)
end

local replies, routes = {{}}, {{}}
for place, messages in ipairs(shares) do
    local key, new = 3 * place, ARGV[1] .. 'z' .. place
    local stream = open(KEYS[key - 2], KEYS[key - 1], word_key, new, keep, producer)
    local reply = append(stream, messages)
    if reply.err then
        return reply
    end
    replies[place], routes[place] = reply, shown(stream.unknown, KEYS[key], young)
end
return cjson.encode({{channels, routes, replies}})
"""
)

# KEYS: meta, log, shown; in a cluster the server's word. ARGV: an epoch, if a new one
# begins; milliseconds to keep meta; an epoch ('' for none), a number, a moment ('' for
# none); a process that shows the stream from now on ('' for none), for how many
# seconds. With both, only messages after the number and not before the moment are read.
# Returns epoch, tip, whether complete, then the data of each entry up to the tip.
READ = Script(
    _OPEN
    + _SHOW
    + """
local stream = open(KEYS[1], KEYS[2], KEYS[4], ARGV[1], ARGV[2])
-- This is where a process is new, so there are no more than have been new lately.
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', exactly(now))
show(KEYS[3], ARGV[6], ARGV[7], now)
if stream.begun then
    save(stream)
end
local epoch, tip, log, last = stream.epoch, stream.tip, stream.log, stream.last
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
    elseif stream.cut < moment and redis.call('XLEN', log) > 0 then
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

# KEYS: meta and shown of each stream. ARGV: milliseconds to keep meta; a process that
# shows the streams, for how many seconds.
# Returns, as JSON, for each stream the epoch, the number of the last message, the
# server's process, and whether a gap is owed; each is false if there is none.
TIP = Script(
    TIME
    + _SHOW
    + """
local now, tips = microseconds(), {}
for place = 1, #KEYS, 2 do
    local meta = KEYS[place]
    show(KEYS[place + 1], ARGV[2], ARGV[3], now)
    redis.call('PEXPIRE', meta, ARGV[1])
    table.insert(tips, redis.call('HMGET', meta, 'e', 'n', 'r', 'o'))
end
return cjson.encode(tips)
"""
)

# KEYS: meta and shown of each stream. ARGV: for how many seconds an epoch does not know
# which processes show its streams. Returns, as JSON, the processes, and for each stream
# those that show it, by their places, or 0 if this is not known.
SHOWN = Script(
    script.SERVER
    + TIME
    + "local run, now = server(), microseconds()"
    + _SHOWN
    + """
local routes = {}
for place = 1, #KEYS, 2 do
    local held = redis.call('HMGET', KEYS[place], 'f', 'r')
    local unknown = tonumber(held[1]) or 0  -- nobody has opened it: nobody shows it
    if held[1] and held[2] ~= run then
        unknown = now
    end
    table.insert(routes, shown(unknown, KEYS[place + 1], ARGV[1]))
end
return cjson.encode({channels, routes})
"""
)

# KEYS: shown. ARGV: the process that does not show the stream any more.
HIDE = Script("return redis.call('ZREM', KEYS[1], ARGV[1])")

# KEYS: the server's word. ARGV: a word, if there is none; '1' to replace it anyway.
# Returns the identity (of the data and the process together), the process, the time.
SERVER = Script(
    script.SERVER
    + TIME
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
    TIME
    + """
local time = math.min(microseconds(), tonumber(ARGV[2]))
time = math.max(time, tonumber(redis.call('GET', KEYS[1])) or 0)
redis.call('SET', KEYS[1], string.format('%.0f', time), 'PX', ARGV[1])
"""
)
# KEYS: revocations. Returns the time of each, or nothing.
# GETEX reads like GET, but a replica, whose data may be old, refuses it.
FORBIDDEN = Script(
    """
local times = {}
for place, key in ipairs(KEYS) do
    times[place] = redis.call('GETEX', key)
end
return times
"""
)
