-- "I am alive": renew this worker's line, and run for housekeeper.
-- KEYS workers, w, boss
-- ARGV worker, lease ms, numbers (JSON), boss ms (0 = does not stand), then more ids to keep alive
--      (workers whose journal this one is emptying)
-- Answers now ms, 1 when this worker is the housekeeper, 1 when its line had run out before (0 at the
-- first beat, and when the line was swept meanwhile).
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old = redis.call('ZSCORE', KEYS[1], ARGV[1])
-- A full Redis must not make living workers look dead: a first write that frees memory lets the
-- following ones pass under OOM.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
for i = 5, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i]) end
local boss = 0
local who = redis.call('GET', KEYS[3])
if ARGV[4] ~= '0' then
  if not who or who == ARGV[1] then
    redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[4])
    boss = 1
  end
elseif who == ARGV[1] then
  redis.call('DEL', KEYS[3])
end
return {now, boss, (old and tonumber(old) <= now) and 1 or 0}
