-- The beginning of every script that may write: reads the store's clock, and says which revision and history a transaction made now would have.
-- It writes nothing.
--
-- KEYS[1]  the namespace's `m`: a hash that never expires, with
--            rev       the last revision that was committed
--            low       the lowest revision that the next commit may take; set when a history was begun without a commit
--            hist      the history's name
--            replid    the server's replication id when the history began
--            last:<s>  the revision of the last entry of the log of scope s in this history
-- ARGV[1]  a revision that the caller knows to be committed, or 0
-- ARGV[2]  how far ahead of the clock a new history starts, in µs

local call = redis.call

-- All numbers here are whole and at most 2^53, which a Lua number holds exactly. tostring() would write the large ones as 1.79e+15; %d is faster than %.0f, and right
-- where the server's machine has integers of 64 bits.
local format = string.format
local whole = format('%d', 9007199254740992) == '9007199254740992' and '%d' or '%.0f'
local function int(number)
  return format(whole, number)
end

local clock = call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local meta = call('HMGET', KEYS[1], 'rev', 'low', 'hist', 'replid', 'last:sessions', 'last:cache')
local floor = tonumber(ARGV[1])
local known = math.max(tonumber(meta[1] or 0), tonumber(meta[2] or 0) - 1)

-- Redis chooses a new replication id whenever what it holds may differ from what it acknowledged: at a restart, at a promotion, and also when the first replica
-- comes or the last one is given up. A namespace without `m` was wiped or is new. One that lies behind what a caller saw committed was rolled back.
local replid = string.match(call('INFO', 'replication'), 'master_replid:(%x+)') or 'hidden'
local fresh = not meta[3] or meta[4] ~= replid or known < floor

-- A revision is never more than ARGV[2] ahead of the clock that made it. So one that is that far ahead of a later clock is above all that were made before, also those
-- that are lost and known to nobody.
local rev = math.max(now, known + 1, floor + 1)
if fresh then
  rev = math.max(rev, now + tonumber(ARGV[2]))
end
local id = int(rev)
local history = fresh and (string.sub(replid, 1, 16) .. '.' .. id) or meta[3]
-- The revision of each log's last entry in this history.
local last = {sessions = not fresh and meta[5] or '0', cache = not fresh and meta[6] or '0'}
