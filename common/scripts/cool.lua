-- No calls for a time: the far side asked for a pause, its limit is used up, or it refuses fresh tokens: close the
-- connection's lane for every worker. cw: the HTTP status that it was for, for people.
-- KEYS {c:ID}      ARGV ms from now, changed channel, connection id, status
-- Answers the time until which it is closed, never earlier than it was; 0 = no such connection.
local h = redis.call('HMGET', KEYS[1], 'state', 'cool')
if not h[1] or h[1] == 'REMOVED' then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old = tonumber(h[2] or 0)
local cool = math.max(old, now + ARGV[1])
if cool > old then
  redis.call('HDEL', KEYS[1], 'cool') -- a first write that frees memory lets the next one pass under OOM
  redis.call('HSET', KEYS[1], 'cool', cool, 'cw', ARGV[4])
  redis.pcall('PUBLISH', ARGV[2], ARGV[3])
end
return cool
