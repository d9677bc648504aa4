-- Makes an object visible, if there is none of its name and its chunks are all there.
-- KEYS: the header, then the chunks. ARGV: the header's value, the length of the object.
-- Answers the header that stands there now; nothing when a chunk is missing.
local found = redis.call('GET', KEYS[1])
if found then return found end
local length = 0
for i = 2, #KEYS do length = length + redis.call('STRLEN', KEYS[i]) end
if length ~= tonumber(ARGV[2]) then return '' end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
