-- Records past their expiry by the store's clock, the longest expired first.
--
-- KEYS[1]  the sorted set of expiries
-- ARGV[1]  how many to pass over
-- ARGV[2]  how many at most

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
return redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', ARGV[1], ARGV[2])
