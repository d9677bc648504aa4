-- A part of a log with its head.
--
-- KEYS[1]  the namespace's `m`
-- KEYS[2]  the log
-- ARGV[1]  the revision after which to read
-- ARGV[2]  how many entries at most, at least 1
-- ARGV[3]  the field of `m` with the scope's last revision

local meta = redis.call('HMGET', KEYS[1], 'hist', 'rev', ARGV[3])
return {meta[1] or '', meta[2] or '0', meta[3] or '0', redis.call('XRANGE', KEYS[2], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])}
