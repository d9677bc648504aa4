-- Commits, one after the other: of each, the first transaction that can be applied is, as a whole. What one meets concerns it alone. Stands after prologue.lua,
-- which reads KEYS[1], ARGV[1] and ARGV[2].
--
-- Redis does not undo what a script wrote before it failed, so a transaction must not fail after its first write:
--   * Everything is read, checked and computed before that, and every write becomes a line of `plan`. Reading a key with a command of its type is also the check
--     of its type.
--   * Every argument in the plan is a name, a value, or a number that was bounded by the caller or formatted here.
--   * Memory, persistence, replicas and the server's role are checked by Redis at a script's first write alone. The first line of the plan is a command that is refused
--     for lack of memory (XADD or HSET); only transactions that free memory begin with one that is not, and their commits come alone.
--   * XADD cannot meet a younger entry: the log is deleted when a history begins, and within one only `rev` numbers its entries.
--   * Permissions are tried out when the daemon connects. PUBLISH comes last and may fail.
--
-- KEYS[2]   `e`: sorted set of the records that wait for the sweeper when they expire, by expiry
-- KEYS[3]   the log of sessions
-- KEYS[4]   the log of the cache
-- KEYS[5…]  whatever the commits name by position
-- ARGV[3]   age at which a log's entries are trimmed, in µs
-- ARGV[4]   number of entries to which a log is trimmed
-- ARGV[5]   where a record's own name starts in its key
-- ARGV[6]   the channel to wake
-- ARGV[7]   PUBLISH or SPUBLISH
-- ARGV[8…]  the commits, each of them
--             the number of arguments that follow
--             for how many ms its result is remembered; 0: not at all
--             the position of the key for that
--             a name of this call, so that its repetition by the connection is told from one by the caller
--             the alternatives, each of them
--               the number of arguments that follow, so that a refused one can be left
--               1 when it leaves less than there was, else 0
--               verbs with their arguments, in the order of the contract: what stands against it first is what it is refused for
--               note, and the note, if there is one
--
-- Answers what became of each commit, in their order.

local KEYS, ARGV = KEYS, ARGV
local entries, own_start = tonumber(ARGV[4]), tonumber(ARGV[5])
local now_text = int(now)

local cursor = 7
local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end
local function number()
  cursor = cursor + 1
  return tonumber(ARGV[cursor])
end
local function key()
  cursor = cursor + 1
  return KEYS[tonumber(ARGV[cursor])]
end

-- What a record is now. `there`: something is found under the key. `live`: and it is not past its expiry.
local records
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
    if known.there then known.exp, known.text, known.swept = exp, field[2], swept end
  end
  records[name] = known
  return known
end

-- A mark as it is now; `field` is its name in the hash.
local function marked(name, field)
  return record(name).there and call('HGET', name, field) or '0'
end

-- The plan of an alternative: what comes first, the fields of `m`, counts, and the rest. `changed`: records as they will be. `written`: some of it is carried out.
local first, fields, sums, plan, changed, written
-- Of the whole script: keys that are sorted sets or nothing; most entries that a log can have; logs whose old entries were trimmed; counts as they are now.
local sorted, lengths, trimmed, counts = {}, {}, {}, {}

local function run(...)
  plan[#plan + 1] = {...}
end

local function zset(name)
  if not sorted[name] then sorted[name] = call('ZCARD', name) end
  return name
end

-- Reads a score that may be known only now: a mark is what it will be.
local function score()
  local kind = take()
  if kind == 'revision' then return id end
  if kind == 'literal' then return take() end
  if kind == 'now' then return now_text end
  if kind == 'now+' then return int(now + number()) end
  local name, field = key(), take()
  local new = changed[name]
  if new and (new.whole or new.marks[field]) then return new.marks[field] or '0' end
  return marked(name, field)
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

-- Reads marks, adds them to the fields of an HSET and returns them. An empty name ends them, or `keep` with the number and the names of those that stay as they are.
local function marks(name, hset)
  local set = {}
  local field = take()
  while field ~= '' and field ~= 'keep' do
    local kind, value = take()
    if kind == 'now' then
      value = now_text
    elseif kind == 'revision' then
      value = id
    elseif kind == 'literal' then
      value = take()
    else
      value = int(now + number())
    end
    hset[#hset + 1] = field
    hset[#hset + 1] = value
    set[field] = value
    field = take()
  end
  if field == '' then return set end
  local count = number()
  local values = record(name).there and call('HMGET', name, unpack(ARGV, cursor + 1, cursor + count)) or {}
  for i = 1, count do
    local value = values[i] or '0'
    field = ARGV[cursor + i]
    hset[#hset + 1] = field
    hset[#hset + 1] = value
    set[field] = value
  end
  cursor = cursor + count
  return set
end

local function own_name(name)
  return string.sub(name, own_start)
end

local function remove(name, old)
  if old.rev then run('DEL', name) end
  if old.swept then run('ZREM', zset(KEYS[2]), own_name(name)) end
  changed[name] = {whole = true, marks = {}}
end

-- Lets a record's fields, its native expiry and the sweeper's set follow its new life. `same`: it is in that set as it shall be.
local function live_until(name, hset, old, exp, swept, same)
  local text = same and old.text or exp and int(exp)
  if exp then
    hset[#hset + 1] = 'exp'
    hset[#hset + 1] = text
  end
  if swept then
    hset[#hset + 1] = 'sw'
    hset[#hset + 1] = '1'
    if not same then run('ZADD', zset(KEYS[2]), text, own_name(name)) end
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
    local name, field, value = key(), take(), take()
    return unless(record(name).live and marked(name, field) == value, name)
  end,

  add = function()
    local name, delta, max = key(), number(), number()
    local value = counts[name] or tonumber(call('GET', name) or 0)
    -- Not `sum > max`: the sum may lie where a Lua number is no longer exact.
    if value + delta < 0 or (delta >= 0 and value > max - delta) then return {'counter', name, int(value)} end
    sums[name] = value + delta
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
    local exp, swept, same = life(old)
    local hset = {'HSET', name, 'rev', id, 'v', value}
    local set = marks(name, hset)
    if exp and not swept and exp <= now then return remove(name, old) end
    if old.rev then run('DEL', name) end
    plan[#plan + 1] = hset
    live_until(name, hset, old, exp, swept, same)
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
    local at = #plan + 1
    if not same then
      if not exp then
        run('HDEL', name, 'exp', 'sw')
      elseif not swept then
        run('HDEL', name, 'sw')
      end
      if old.exp and not old.swept then run('PERSIST', name) end
      live_until(name, hset, old, exp, swept)
    end
    if #hset > 2 then table.insert(plan, at, hset) end
    changed[name] = {marks = set}
  end,

  delete = function()
    local name = key()
    remove(name, record(name))
  end,

  member = function()
    local name, member = zset(key()), take()
    run('ZADD', name, score(), member)
  end,

  ['no member'] = function()
    run('ZREM', zset(key()), take())
  end,

  event = function()
    local scope, log, payload = take(), key(), take()
    local length = lengths[log]
    if not length or length >= entries then
      -- A new history begins with an empty log.
      length = fresh and 0 or call('XLEN', log)
    end
    lengths[log] = length + 1
    if trimmed[log] then
      first[#first + 1] = {'XADD', log, id .. '-0', 'p', last[scope], 'd', payload}
    else
      first[#first + 1] = {'XADD', log, 'MINID', '=', int(math.max(now - tonumber(ARGV[3]), 0)), id .. '-0', 'p', last[scope], 'd', payload}
      trimmed[log] = true
    end
    if length >= entries then first[#first + 1] = {'XTRIM', log, 'MAXLEN', '=', ARGV[4]} end
    fields['last:' .. scope] = id
  end,
}

-- Starts a plan. Its very first write decides whether the transaction is refused for lack of memory.
local function begin(frees)
  first, fields, sums, plan, changed = {}, {rev = id}, {}, {}, {}
  -- Redis lets a script that has written go on although memory is short, and takes this for a write.
  if frees then first[1] = {'HDEL', KEYS[1], '-'} end
  if fresh then
    first[#first + 1] = {'HSET', KEYS[1], 'hist', history, 'replid', replid, 'low', id}
    first[#first + 1] = {'HDEL', KEYS[1], 'last:sessions', 'last:cache'}
    first[#first + 1] = {'DEL', KEYS[3], KEYS[4]}
  end
end

-- Returns what stands against the alternative that ends there, and its note.
local function consider(ending)
  begin(take() == '1')
  while cursor < ending do
    local verb = take()
    if verb == 'note' then return nil, take() end
    local against = verbs[verb]()
    if against then return against end
  end
  return nil, ''
end

-- What `m` has to learn, and the revision that it knows: it learns of the first transaction with that, and of all others together at the end, where counts are set, too.
local news, told = {}, nil
local function tell()
  local hset = {'HSET', KEYS[1]}
  for name, value in pairs(news) do
    hset[#hset + 1] = name
    hset[#hset + 1] = value
  end
  call(unpack(hset))
  told = news.rev
end

-- Carries the plan out. What comes after it has the next revision, also when it was carried out in part, which must not be.
local function apply()
  for i = 1, #first do
    call(unpack(first[i]))
    written = true
  end
  for name, value in pairs(fields) do news[name] = value end
  if not told then tell() end
  written = true
  for name, count in pairs(sums) do counts[name] = count end
  for i = 1, #plan do call(unpack(plan[i])) end
end

local function commit(ending)
  local keep, result, name = take(), key(), take()
  local remember = keep ~= '0'
  if remember then
    local done = call('GET', result)
    if done then return {'replayed', done} end
  end
  records = {}
  local refused, which = {'refused'}, 0
  while cursor < ending do
    local after = number() + cursor
    local against, note = consider(after)
    if not against then
      if remember then
        run('SET', result, which .. ' ' .. id .. ' ' .. now_text .. ' ' .. name .. ' ' .. note, 'PX', keep)
      end
      apply()
      return {'applied', which, id, now_text, fresh and 1 or 0}
    end
    for i = 1, 3 do refused[#refused + 1] = against[i] end
    cursor, which = after, which + 1
  end
  return refused
end

-- What a script met as Redis says it of a whole script: with its code first, where the server gives it, and the word that tells it from a command's.
local function in_words(met)
  if type(met) == 'table' then met = met.err end
  if string.find(met, '^%u+ ') then return met .. ' (user_script)' end
  return 'ERR user_script: ' .. met
end

local out = {}
while cursor < #ARGV do
  local ending = number() + cursor
  written = false
  local fine, answer = pcall(commit, ending)
  if not fine then answer = {'failed', in_words(answer)} end
  if written then
    for scope, before in pairs(last) do last[scope] = fields['last:' .. scope] or before end
    fresh, rev = false, rev + 1
    id = int(rev)
  end
  out[#out + 1] = answer
  cursor = ending
end
for name, count in pairs(counts) do
  if count == 0 then call('DEL', name) else call('SET', name, int(count)) end
end
if told then
  if told ~= news.rev then tell() end
  redis.pcall(ARGV[7], ARGV[6], news.rev)
end
return out
