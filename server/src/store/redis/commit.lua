-- One transaction: the first alternative that can be applied is, as a whole. Stands after prologue.lua, which reads KEYS[1], ARGV[1] and ARGV[2].
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
-- KEYS[3]   the log of sessions
-- KEYS[4]   the log of the cache
-- KEYS[5]   the operation's result
-- KEYS[6…]  whatever the alternatives name by position
-- ARGV[3]   for how many ms the result is remembered in KEYS[5]; 0: not at all
-- ARGV[4]   names this call, so that its repetition by the connection is told from one by the caller
-- ARGV[5]   age at which a log's entries are trimmed, in µs
-- ARGV[6]   number of entries to which a log is trimmed
-- ARGV[7]   where a record's own name starts in its key
-- ARGV[8]   the channel to wake
-- ARGV[9]   PUBLISH or SPUBLISH
-- ARGV[10…] the alternatives, each of them
--             the number of arguments that follow, so that a refused one can be left
--             1 when it leaves less than there was, else 0
--             verbs with their arguments, in the order of the contract: what stands against it first is what it is refused for
--             note, and the note

local remember = ARGV[3] ~= '0'
if remember then
  local done = call('GET', KEYS[5])
  if done then return {'replayed', done} end
end

local cursor = 9
local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end
local function number()
  return tonumber(take())
end
local function key()
  return KEYS[tonumber(take())]
end

-- What a record is now. `there`: something is found under the key. `live`: and it is not past its expiry.
local records = {}
local function record(name)
  local known = records[name]
  if known then return known end
  local field = call('HMGET', name, 'rev', 'exp', 'sw')
  known = {rev = field[1], there = field[1], live = field[1]}
  if field[2] then
    local exp, swept = tonumber(field[2]), field[3] and true or false
    known.past = exp <= now
    known.live = known.live and not known.past
    known.there = known.there and (swept or not known.past)
    if known.there then known.exp, known.swept = exp, swept end
  end
  records[name] = known
  return known
end

-- A mark as it is now.
local function marked(name, mark)
  return record(name).there and call('HGET', name, 'm:' .. mark) or '0'
end

-- The plan of an alternative: what comes first, the fields of `m`, and the rest. `changed`: records as they will be. `sorted`: keys that are sorted sets or nothing.
local first, fields, plan, changed, sorted

local function run(...)
  plan[#plan + 1] = {...}
end

local function zset(name)
  if not sorted[name] then sorted[name] = call('ZCARD', name) end
  return name
end

-- Reads a number that may be known only now. A mark can be what it was, a score can be a mark as it will be.
local function resolve(name, mark)
  local kind = take()
  if kind == 'literal' then return take() end
  if kind == 'revision' then return id end
  if kind == 'now' then return int(now + number()) end
  if kind == 'keep' then return marked(name, mark) end
  name, mark = key(), take()
  local new = changed[name]
  if new and (new.whole or new.marks[mark]) then return new.marks[mark] or '0' end
  return marked(name, mark)
end

-- Reads a life: the expiry, whether the sweeper deals with it, and whether it stays as it is.
local function life(old)
  local kind = take()
  if kind == 'forever' then return nil, false end
  if kind == 'keep' then return old.exp, old.swept, true end
  local moment = number()
  if kind == 'swept+' or kind == 'dropped+' then moment = now + moment end
  return moment, kind == 'swept+' or kind == 'swept@'
end

-- Reads marks up to an empty name, adds them to the fields of an HSET and returns them.
local function marks(name, hset)
  local set = {}
  local mark = take()
  while mark ~= '' do
    local value = resolve(name, mark)
    hset[#hset + 1] = 'm:' .. mark
    hset[#hset + 1] = value
    set[mark] = value
    mark = take()
  end
  return set
end

local function own_name(name)
  return string.sub(name, tonumber(ARGV[7]))
end

local function remove(name, old)
  if old.rev then run('DEL', name) end
  if old.swept then run('ZREM', zset(KEYS[2]), own_name(name)) end
  changed[name] = {whole = true, marks = {}}
end

local function expiry(hset, exp, swept)
  hset[#hset + 1] = 'exp'
  hset[#hset + 1] = int(exp)
  if swept then
    hset[#hset + 1] = 'sw'
    hset[#hset + 1] = '1'
  end
end

-- Lets the native expiry and the sweeper's set follow a record's new life.
local function live_until(name, old, exp, swept)
  if swept then
    run('ZADD', zset(KEYS[2]), int(exp), own_name(name))
  elseif old.swept then
    run('ZREM', zset(KEYS[2]), own_name(name))
  end
  if exp and not swept then run('PEXPIREAT', name, int(math.ceil(exp / 1000))) end
end

-- What stands against the alternative when something does not hold.
local function unless(holds, name)
  if not holds then return {'record', name, 0} end
end

local verbs = {
  absent = function()
    local name = key()
    return unless(not record(name).there, name)
  end,

  at = function()
    local name, rev = key(), take()
    local is = record(name)
    return unless(is.live and is.rev == rev, name)
  end,

  expired = function()
    local name, rev = key(), take()
    local is = record(name)
    return unless(is.there and is.past and is.rev == rev, name)
  end,

  mark = function()
    local name, mark, value = key(), take(), take()
    return unless(record(name).live and marked(name, mark) == value, name)
  end,

  add = function()
    local name, delta, max = key(), number(), number()
    local value = tonumber(call('GET', name) or 0)
    -- Not `sum > max`: the sum may lie where a Lua number is no longer exact.
    if value + delta < 0 or (delta >= 0 and value > max - delta) then return {'counter', name, int(value)} end
    if value + delta == 0 then run('DEL', name) else run('SET', name, int(value + delta)) end
  end,

  meter = function()
    local name, interval, cost = key(), number(), number()
    local tat = math.max(tonumber(call('GET', name) or 0), now) + cost
    if tat - now > interval then return {'meter', name, int(tat - now - interval)} end
    run('SET', name, int(tat), 'PX', int(math.ceil((tat - now) / 1000) + 1))
  end,

  put = function()
    local name, value = key(), take()
    local old = record(name)
    local exp, swept = life(old)
    local hset = {'HSET', name, 'rev', id, 'v', value}
    local set = marks(name, hset)
    if exp and not swept and exp <= now then return remove(name, old) end
    if exp then expiry(hset, exp, swept) end
    if old.rev then run('DEL', name) end
    plan[#plan + 1] = hset
    live_until(name, old, exp, swept)
    changed[name] = {whole = true, marks = set}
  end,

  touch = function()
    local name = key()
    local old = record(name)
    if not old.live then return unless(false, name) end
    local exp, swept, same = life(old)
    local hset = {'HSET', name}
    local set = marks(name, hset)
    if exp and not swept and exp <= now then return remove(name, old) end
    if exp and not same then expiry(hset, exp, swept) end
    if #hset > 2 then plan[#plan + 1] = hset end
    changed[name] = {marks = set}
    if same then return end
    if not exp then
      run('HDEL', name, 'exp', 'sw')
    elseif not swept then
      run('HDEL', name, 'sw')
    end
    if old.exp and not old.swept then run('PERSIST', name) end
    live_until(name, old, exp, swept)
  end,

  delete = function()
    local name = key()
    remove(name, record(name))
  end,

  member = function()
    local name, member = zset(key()), take()
    run('ZADD', name, resolve(), member)
  end,

  ['no member'] = function()
    run('ZREM', zset(key()), take())
  end,

  event = function()
    local scope, log, payload = take(), key(), take()
    -- A new history begins with an empty log.
    local length = fresh and 0 or call('XLEN', log)
    first[#first + 1] = {'XADD', log, 'MINID', '=', int(math.max(now - tonumber(ARGV[5]), 0)), id .. '-0', 'p', last[scope], 'd', payload}
    if length >= tonumber(ARGV[6]) then first[#first + 1] = {'XTRIM', log, 'MAXLEN', '=', ARGV[6]} end
    fields[#fields + 1] = 'last:' .. scope
    fields[#fields + 1] = id
  end,
}

-- Starts a plan. Its very first write decides whether the transaction is refused for lack of memory.
local function begin(frees)
  first, fields, plan, changed, sorted = {}, {'HSET', KEYS[1], 'rev', id}, {}, {}, {}
  -- Redis lets a script that has written go on although memory is short, and takes this for a write.
  if frees then first[1] = {'HDEL', KEYS[1], '-'} end
  if fresh then
    first[#first + 1] = {'HSET', KEYS[1], 'hist', history, 'replid', replid, 'low', id}
    first[#first + 1] = {'HDEL', KEYS[1], 'last:sessions', 'last:cache'}
    first[#first + 1] = {'DEL', KEYS[3], KEYS[4]}
  end
end

-- Returns what stands against the alternative.
local function consider()
  begin(take() == '1')
  local verb = take()
  while verb ~= 'note' do
    local against = verbs[verb]()
    if against then return against end
    verb = take()
  end
end

local refused = {'refused'}
local which = 0
while cursor < #ARGV do
  local after = number() + cursor
  local against = consider()
  if not against then
    first[#first + 1] = fields
    if remember then
      run('SET', KEYS[5], which .. ' ' .. id .. ' ' .. int(now) .. ' ' .. ARGV[4] .. ' ' .. take(), 'PX', ARGV[3])
    end
    for i = 1, #first do call(unpack(first[i])) end
    for i = 1, #plan do call(unpack(plan[i])) end
    redis.pcall(ARGV[9], ARGV[8], id)
    return {'applied', which, id, int(now), fresh and 1 or 0}
  end
  for i = 1, 3 do refused[#refused + 1] = against[i] end
  cursor, which = after, which + 1
end
return refused
