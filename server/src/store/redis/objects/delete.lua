-- Deletes an object, if it is still the one that was looked at.
-- KEYS: the header, then the chunks. ARGV: the header's value.
-- Answers 0 when it is another one, or gone.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
