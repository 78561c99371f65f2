-- Forget a dead letter for good; its run ends `expired`.
-- KEYS dead, held, run:RUN      ARGV name, ttl ms of the run record
-- Answers OK or NONE.
if not tonumber(ARGV[2]) then return redis.error_reply('ERR ttl is not a number') end
redis.call('HGET', KEYS[3], 'st') -- a wrong type says so before the first write
redis.call('HEXISTS', KEYS[2], ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'NONE' end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], 'st', 'expired', 'pl', '')
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return 'OK'
