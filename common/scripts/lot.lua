-- After a look at a lot: forget it when nobody waits there, else say when to look again.
-- KEYS lots, park:RESOURCE      ARGV resource, look-again ms, score it had when we looked
-- Answers how many still wait. A wake that came meanwhile (it changes the score) is kept. The next
-- look is never later than the first deadline of those who wait, whoever parked meanwhile.
local waiting = redis.call('ZCARD', KEYS[2])
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if waiting == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
elseif not score or tonumber(score) == tonumber(ARGV[3]) then
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  local look = math.min(tonumber(ARGV[2]), tonumber(first[2]))
  redis.call('ZREM', KEYS[1], ARGV[1]) -- a first write that frees memory lets the next one pass under OOM
  redis.call('ZADD', KEYS[1], look, ARGV[1])
end
return waiting
