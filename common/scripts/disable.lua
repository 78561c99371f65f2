-- No further call with this connection's token, until it is enabled; its grant stays.
-- KEYS {c:ID}      ARGV 1 = disable, 0 = enable; reason, changed channel, connection id
-- Answers OK, SAME (it was so already; nothing was done) or NONE.
-- `ds` is the state that it comes back to: a consent that is missing is missing still. A renewal under way is
-- stored meanwhile (store.lua), for a rotated refresh token exists nowhere else.
local h = redis.call('HMGET', KEYS[1], 'gen', 'state', 'ds', 'at', 'exp')
local state = h[2]
if not h[1] or state == 'REMOVED' then return 'NONE' end
if (state == 'DISABLED') == (ARGV[1] == '1') then return 'SAME' end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[1] == '1' then
  -- A full Redis is no reason to let calls go on: a first write that frees memory lets the next one pass.
  redis.call('HDEL', KEYS[1], 'ds')
  redis.call('HSET', KEYS[1], 'state', 'DISABLED', 'ds', state, 'dr', ARGV[2], 'dt', now)
else
  local back = h[3]
  if back ~= 'NEEDS_CONSENT' and back ~= 'BACKOFF' then
    back = h[4] and tonumber(h[5] or 0) > now and 'FRESH' or 'DUE'
  end
  redis.call('HDEL', KEYS[1], 'ds', 'dr', 'dt')
  redis.call('HSET', KEYS[1], 'state', back)
end
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 'OK'
