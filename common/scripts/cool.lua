-- The far side asked for a pause (429, Retry-After): close the connection's lane for every worker.
-- KEYS {c:ID}      ARGV ms from now, changed channel, connection id
-- Answers the time until which it is closed, never earlier than it was; 0 = no such connection.
local h = redis.call('HMGET', KEYS[1], 'state', 'cool')
if not h[1] or h[1] == 'REMOVED' then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old = tonumber(h[2] or 0)
local cool = math.max(old, now + ARGV[1])
if cool > old then
  redis.call('HDEL', KEYS[1], 'cool') -- a first write that frees memory lets the next one pass under OOM
  redis.call('HSET', KEYS[1], 'cool', cool)
  redis.pcall('PUBLISH', ARGV[2], ARGV[3])
end
return cool
