-- Forget the line of a worker that is gone, once its entries were given back.
-- KEYS workers, w      ARGV worker
-- Answers 1, or 0 when its time has not passed (it came back).
local t = redis.call('TIME')
local alive = redis.call('ZSCORE', KEYS[1], ARGV[1])
if alive and tonumber(alive) > t[1] * 1000 + math.floor(t[2] / 1000) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
