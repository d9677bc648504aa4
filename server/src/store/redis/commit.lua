-- One transaction: the first alternative that can be applied is, as a whole. Stands after prologue.lua, which reads KEYS[1] and ARGV[1] to ARGV[2].
--
-- Redis does not undo what a script wrote before it failed, so this one must not fail after its first write:
--   * Everything is read, checked and computed before that, and every write becomes a line of `plan`. Reading a key with a command of its type is also the check
--     of its type.
--   * Every argument in the plan is a name, a value, or a number that was bounded by the caller or formatted here.
--   * Memory, persistence, replicas and the server's role are checked by Redis at a script's first write alone. The first line of the plan is a command that is refused
--     for lack of memory (XADD or HSET); only transactions that free memory begin with one that is not.
--   * XADD cannot meet a younger entry: the log is deleted when a history begins, and within one only `rev` numbers its entries.
--   * Permissions are tried out when the daemon connects. PUBLISH comes last and may fail.
--
-- KEYS[2]   `e`: sorted set of the records that wait for the sweeper when they expire, by expiry
-- KEYS[3]   log of sessions
-- KEYS[4]   log of the cache
-- KEYS[5]   the operation's result
-- KEYS[6…]  whatever the alternatives name by position
-- ARGV[3]   1 when the result is to be remembered in KEYS[5], else 0
-- ARGV[4]   for how long, in ms
-- ARGV[5]   names this call, so that its repetition by the connection is told from one by the caller
-- ARGV[6]   age at which a log's entries are trimmed, in µs
-- ARGV[7]   number of entries to which a log is trimmed
-- ARGV[8]   where a record's own name starts in its key
-- ARGV[9]   channel to wake
-- ARGV[10]  PUBLISH or SPUBLISH
-- ARGV[11]  number of alternatives, which follow; each with its length first, so that a refused one can be left

if ARGV[3] == '1' then
  local done = call('GET', KEYS[5])
  if done then return {'replayed', done} end
end

local at = 11
local function take()
  at = at + 1
  return ARGV[at]
end
local function number()
  return tonumber(take())
end
local function key()
  return KEYS[number()]
end

-- What a record is now. `there`: something is found under the key. `live`: and it is not past its expiry.
local records = {}
local function record(name)
  local known = records[name]
  if known then return known end
  local field = call('HMGET', name, 'rev', 'exp', 'sw')
  local exp = field[2] and tonumber(field[2])
  local past = exp and exp <= now
  local swept = field[3] and true or false
  local there = field[1] and (swept or not past)
  known = {rev = field[1], there = there, live = there and not past, past = past}
  if there then known.exp, known.swept = exp, swept end
  records[name] = known
  return known
end

-- A mark as it is now.
local function marked(name, mark)
  return record(name).there and call('HGET', name, 'm:' .. mark) or '0'
end

-- Each returns whether a requirement of its kind holds.
local holds = {
  absent = function(name) return not record(name).there end,
  at = function(name)
    local is, wanted = record(name), take()
    return is.live and is.rev == wanted
  end,
  expired = function(name)
    local is, wanted = record(name), take()
    return is.there and is.past and is.rev == wanted
  end,
  mark = function(name)
    local mark, wanted = take(), take()
    return record(name).live and marked(name, mark) == wanted
  end,
}

local plan, changed, sorted

local function run(...)
  plan[#plan + 1] = {...}
end

-- Makes sure that a key is a sorted set or nothing.
local function zset(name)
  if not sorted[name] then sorted[name] = call('ZCARD', name) end
  return name
end

-- A number that may be known only now.
local function resolve(kind, value)
  if kind == 'revision' then return int(rev) end
  if kind == 'now' then return int(now + tonumber(value)) end
  return value
end

-- Reads a life: the expiry and whether the sweeper deals with it.
local function life(old)
  local kind, moment = take(), number()
  if kind == 'keep' then return old.exp, old.swept, true end
  if kind == 'forever' then return nil, false end
  local swept, counted = string.match(kind, '^(%a+)(.)$')
  if counted == '+' then moment = now + moment end
  return moment, swept == 'swept'
end

-- Reads marks, adds them to the fields of an HSET and returns them by name.
local function marks(name, fields)
  local set = {}
  for _ = 1, number() do
    local mark, kind, value = take(), take(), take()
    value = kind == 'keep' and marked(name, mark) or resolve(kind, value)
    fields[#fields + 1] = 'm:' .. mark
    fields[#fields + 1] = value
    set[mark] = value
  end
  return set
end

local function remove(name, old)
  if old.rev then run('DEL', name) end
  if old.swept then run('ZREM', zset(KEYS[2]), string.sub(name, tonumber(ARGV[8]))) end
  changed[name] = {whole = true, marks = {}}
end

-- Lets the native expiry and the sweeper's set follow a record's new life.
local function live_until(name, old, exp, swept)
  local member = string.sub(name, tonumber(ARGV[8]))
  if swept then
    run('ZADD', zset(KEYS[2]), int(exp), member)
  elseif old.swept then
    run('ZREM', zset(KEYS[2]), member)
  end
  if exp and not swept then run('PEXPIREAT', name, int(math.ceil(exp / 1000))) end
end

local function put(name, old)
  local fields = {'HSET', name, 'rev', int(rev)}
  local exp, swept = life(old)
  local set = marks(name, fields)
  fields[#fields + 1] = 'v'
  fields[#fields + 1] = take()
  if exp and not swept and exp <= now then return remove(name, old) end
  if exp then
    fields[#fields + 1] = 'exp'
    fields[#fields + 1] = int(exp)
  end
  if swept then
    fields[#fields + 1] = 'sw'
    fields[#fields + 1] = '1'
  end
  if old.rev then run('DEL', name) end
  run(unpack(fields))
  live_until(name, old, exp, swept)
  changed[name] = {whole = true, marks = set}
end

local function touch(name, old)
  local fields = {'HSET', name}
  local exp, swept, same = life(old)
  local set = marks(name, fields)
  if exp and not swept and exp <= now then return remove(name, old) end
  if exp and not same then
    fields[#fields + 1] = 'exp'
    fields[#fields + 1] = int(exp)
    if swept then
      fields[#fields + 1] = 'sw'
      fields[#fields + 1] = '1'
    end
  end
  if #fields > 2 then run(unpack(fields)) end
  if not same then
    if not exp then
      run('HDEL', name, 'exp', 'sw')
    elseif not swept then
      run('HDEL', name, 'sw')
    end
    if old.exp and not old.swept then run('PERSIST', name) end
    live_until(name, old, exp, swept)
  end
  changed[name] = {marks = set}
end

-- A mark as it will be after the writes.
local function mark_of(name, mark)
  local new = changed[name]
  if new and (new.whole or new.marks[mark]) then return new.marks[mark] or '0' end
  return marked(name, mark)
end

-- Requirements, counters, meters and touched records, in this order: the first that stands against the alternative is returned. `later` are the lines of the plan that
-- counters and meters need.
local function refusal(later)
  for i = 0, number() - 1 do
    local kind, name = take(), key()
    if not holds[kind](name) then return {'require', i, 0} end
  end
  for i = 0, number() - 1 do
    local name, delta, max = key(), number(), number()
    local value = tonumber(call('GET', name) or 0)
    local sum = value + delta
    if sum < 0 or (delta >= 0 and sum > max) then return {'counter', i, int(value)} end
    later[#later + 1] = sum == 0 and {'DEL', name} or {'SET', name, int(sum)}
  end
  for i = 0, number() - 1 do
    local name, interval, cost = key(), number(), number()
    local tat = math.max(tonumber(call('GET', name) or 0), now) + cost
    if tat - now > interval then return {'meter', i, int(tat - now - interval)} end
    later[#later + 1] = {'SET', name, int(tat), 'PX', int(math.ceil((tat - now) / 1000) + 1)}
  end
  for i = 0, number() - 1 do
    local kind, name = take(), key()
    local old = record(name)
    if kind == 'touch' and not old.live then return {'touch', i, 0} end
    if kind == 'put' then put(name, old) elseif kind == 'touch' then touch(name, old) else remove(name, old) end
  end
end

local function indices()
  for _ = 1, number() do
    local kind, name, member = take(), zset(key()), take()
    if kind == 'remove' then
      run('ZREM', name, member)
    else
      local score, value = take(), take()
      run('ZADD', name, score == 'mark' and mark_of(key(), value) or resolve(score, value), member)
    end
  end
end

-- The lines that come first: the new history, the logs, and the revision itself.
local function head(frees)
  local first, fields = {}, {'HSET', KEYS[1], 'rev', int(rev)}
  -- Redis lets a script that has written go on although memory is short; this writes nothing.
  if frees then first[1] = {'HDEL', KEYS[1], '-'} end
  if fresh then
    first[#first + 1] = {'HSET', KEYS[1], 'hist', history, 'replid', replid, 'low', int(rev)}
    first[#first + 1] = {'HDEL', KEYS[1], 'last:sessions', 'last:cache'}
    first[#first + 1] = {'DEL', KEYS[3], KEYS[4]}
  end
  for _ = 1, number() do
    local scope, log, payload = 'last:' .. take(), key(), take()
    local last = not fresh and call('HGET', KEYS[1], scope) or '0'
    if not fresh then call('XLEN', log) end
    first[#first + 1] = {'XADD', log, 'MAXLEN', '=', ARGV[7], int(rev) .. '-0', 'p', last, 'd', payload}
    first[#first + 1] = {'XTRIM', log, 'MINID', '=', int(math.max(now - tonumber(ARGV[6]), 0))}
    fields[#fields + 1] = scope
    fields[#fields + 1] = int(rev)
  end
  first[#first + 1] = fields
  return first
end

local refused = {'refused'}
for which = 0, tonumber(ARGV[11]) - 1 do
  local after = number() + at
  plan, changed, sorted = {}, {}, {}
  local frees, later = take() == '1', {}
  local against = refusal(later)
  if not against then
    indices()
    local first = head(frees)
    local note = take()
    if ARGV[3] == '1' then
      later[#later + 1] = {'SET', KEYS[5], which .. ' ' .. int(rev) .. ' ' .. int(now) .. ' ' .. ARGV[5] .. ' ' .. note, 'PX', ARGV[4]}
    end
    for _, lines in ipairs({first, plan, later}) do
      for _, line in ipairs(lines) do call(unpack(line)) end
    end
    redis.pcall(ARGV[10], ARGV[9], int(rev))
    return {'applied', which, int(rev), int(now), fresh and 1 or 0}
  end
  for _, part in ipairs(against) do refused[#refused + 1] = part end
  at = after
end
return refused
