-- One consistent reading of records.
--
-- KEYS[1]   the namespace's `m`
-- KEYS[2…]  records

local clock = redis.call('TIME')
local out = {redis.call('HGET', KEYS[1], 'rev') or '0', clock[1], clock[2]}
for i = 2, #KEYS do
  out[i + 2] = redis.call('HGETALL', KEYS[i])
end
return out
