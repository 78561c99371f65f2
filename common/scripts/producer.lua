-- Write a producer's record, if it is still the one that was read.
-- KEYS P:producers      ARGV name, the record as it was ("" = there was none), the new one ("" = take it away)
-- Answers OK, or MOVED: somebody changed it meanwhile.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 'MOVED' end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 'OK'
