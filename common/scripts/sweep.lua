-- Forget lines of workers that are long gone and hold nothing (their consumers are deleted by reclaim).
-- KEYS workers, w      ARGV keep ms after a line ran out
-- Answers how many were forgotten; at most 50.
local t = redis.call('TIME')
local old = t[1] * 1000 - ARGV[1]
local gone = redis.call('ZRANGE', KEYS[1], '-inf', old, 'BYSCORE', 'LIMIT', 0, 50)
for _, who in ipairs(gone) do
  redis.call('ZREM', KEYS[1], who)
  redis.call('HDEL', KEYS[2], who)
end
return #gone
