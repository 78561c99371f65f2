-- Forget a dead letter for good; its run ends `expired`, if it was the letter that it ended by.
-- KEYS dead, held, run:RUN (not given for a name that is no job's)      ARGV name, ttl ms of the run record
-- Answers OK or NONE.
if not tonumber(ARGV[2]) then return redis.error_reply('ERR ttl is not a number') end
local run = KEYS[3]
local dead = run and redis.call('HGET', run, 'st') == 'dead' -- a wrong type says so before the first write
redis.call('HEXISTS', KEYS[2], ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'NONE' end
redis.call('HDEL', KEYS[2], ARGV[1])
if dead then
  redis.call('HSET', run, 'st', 'expired', 'pl', '')
  redis.call('PEXPIRE', run, ARGV[2])
end
return 'OK'
