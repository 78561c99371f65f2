-- The install goes by other keys, if it still goes by those that were read: a lost key file is replaced.
-- KEYS P:meta      ARGV what `keys` is, what it is to be
-- Answers OK, or MOVED: somebody changed it meanwhile.
if redis.call('HGET', KEYS[1], 'keys') ~= ARGV[1] then return 'MOVED' end
redis.call('HDEL', KEYS[1], 'keys')
redis.call('HSETNX', KEYS[1], 'keys', ARGV[2])
return 'OK'
