-- Members of an index after a position (ascending) or before it (descending), exact also among members of one score.
--
-- KEYS[1]  the index
-- ARGV[1]  the position's score
-- ARGV[2]  the position's member, which need not be there
-- ARGV[3]  1 for descending, else 0
-- ARGV[4]  how many at most, at least 1

local call, index, score, member, limit = redis.call, KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4])

-- Whether a stands before b as Redis orders members: by bytes. Lua's own < follows the server's locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The rank of the position: how many members stand before it. Those of its score are searched by halving.
local low, high = call('ZCOUNT', index, '-inf', '(' .. score), call('ZCOUNT', index, '-inf', score)
while low < high do
  local middle = math.floor((low + high) / 2)
  if before(call('ZRANGE', index, middle, middle)[1], member) then low = middle + 1 else high = middle end
end

if ARGV[3] == '1' then
  if low == 0 then return {} end
  local count = call('ZCARD', index)
  return call('ZRANGE', index, count - low, count - low + limit - 1, 'REV', 'WITHSCORES')
end
local here = call('ZRANGE', index, low, low, 'WITHSCORES')
if here[1] == member and tonumber(here[2]) == tonumber(score) then low = low + 1 end
return call('ZRANGE', index, low, low + limit - 1, 'WITHSCORES')
