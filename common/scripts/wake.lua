-- Something happened to a resource: its lot, if anybody waits there, is to be looked at now.
-- KEYS lots      ARGV resource, wake channel
-- Answers 1 when there was such a lot. Score 0 is earlier than any time.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('PUBLISH', ARGV[2], '0')
return 1
