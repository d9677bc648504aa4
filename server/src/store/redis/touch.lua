-- Reads a log's head, and begins a new history when one is due although nothing was committed. Stands after prologue.lua.
--
-- KEYS[2], KEYS[3]  the namespace's logs
-- ARGV[3]           the scope

if fresh then
  call('HSET', KEYS[1], 'hist', history, 'replid', replid, 'low', id)
  call('HDEL', KEYS[1], 'last:sessions', 'last:cache')
  call('DEL', KEYS[2], KEYS[3])
end
return {history, meta[1] or '0', last[ARGV[3]]}
