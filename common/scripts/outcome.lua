-- What became of a call: the breaker of its connection. After so many failures in a row no call begins for a
-- time; then one may, the probe (admit.lua lets it), and its outcome opens the connection or holds it for longer.
-- KEYS {c:ID}
-- ARGV outcome (fine, failed, or none: the probe was not made), member (worker/entry), failures in a row,
--      hold base ms, cap ms, random in [0,1000], changed channel, connection id
-- Answers OPENED until n (held for the n-th time in a row), CLOSED (calls go on), or NONE (nothing changed).
-- Workers say fine only after a failure of their own, so that a call that is well costs nothing; while calls
-- are held only the probe's word counts, for the others began before. Failures that are ten minutes old are
-- forgotten.
local h = redis.call('HMGET', KEYS[1], 'state', 'bo', 'bp', 'bf', 'bl', 'cool')
if not h[1] or h[1] == 'REMOVED' then return {'NONE'} end
local trips, limit = tonumber(h[2] or 0), tonumber(ARGV[3])
if trips > 0 and h[3] ~= ARGV[2] then return {'NONE'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HDEL', KEYS[1], 'bp', 'bu') -- a first write that frees memory lets the next one pass under OOM
if ARGV[1] == 'none' then return {'NONE'} end
if ARGV[1] == 'fine' then
  redis.call('HDEL', KEYS[1], 'bo', 'bf', 'bl')
  if trips == 0 then return {'NONE'} end
  redis.pcall('PUBLISH', ARGV[7], ARGV[8])
  return {'CLOSED'}
end
if trips == 0 then
  local failures = (now - tonumber(h[5] or 0) < 600000 and tonumber(h[4] or 0) or 0) + 1
  if failures < limit then
    redis.call('HSET', KEYS[1], 'bf', failures, 'bl', now)
    return {'NONE'}
  end
end
-- between half and the whole of it: workers' clocks and other connections do not fall into step
local hold = math.min(tonumber(ARGV[5]), tonumber(ARGV[4]) * 2 ^ math.min(trips, 20))
local cool = math.max(tonumber(h[6] or 0), now + math.floor(hold * (1000 + ARGV[6]) / 2000))
redis.call('HDEL', KEYS[1], 'bf', 'bl')
redis.call('HSET', KEYS[1], 'bo', trips + 1, 'cool', cool)
redis.pcall('PUBLISH', ARGV[7], ARGV[8])
return {'OPENED', cool, trips + 1}
