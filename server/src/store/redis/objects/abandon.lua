-- Drops the chunks of a write, unless it has become the object; its commit can then never succeed.
-- KEYS: the header, then the chunks. ARGV: the value that the header has if the write succeeded.
-- Answers 1 when it did.
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 0
