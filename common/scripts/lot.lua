-- After a look at a lot: forget it when nobody waits there, else say when to look again.
-- KEYS lots, park:RESOURCE      ARGV resource, look-again ms, score it had when we looked
-- Answers how many still wait. A wake that came meanwhile (score changed to 0) is kept.
local waiting = redis.call('ZCARD', KEYS[2])
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if waiting == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
elseif score and tonumber(score) == tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
return waiting
