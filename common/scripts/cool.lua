-- The far side asked for a pause (429, Retry-After): close the connection's lane for every worker.
-- KEYS {c:ID}      ARGV ms from now, changed channel, connection id
-- Answers the time until which it is closed, never earlier than it was.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old = tonumber(redis.call('HGET', KEYS[1], 'cool') or 0)
local cool = math.max(old, now + ARGV[1])
if cool > old then
  redis.call('HSET', KEYS[1], 'cool', cool)
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return cool
