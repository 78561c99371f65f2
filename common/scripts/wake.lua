-- Something happened to a resource: its lot, if anybody waits there, is to be looked at now.
-- KEYS lots      ARGV resource, wake channel
-- Answers 1 when there was such a lot. Score 0 is earlier than any time; each further wake counts
-- down, so that one that comes while somebody looks at the lot changes the score and is not lost.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1]) -- a first write that frees memory lets the next one pass under OOM
redis.call('ZADD', KEYS[1], math.min(0, tonumber(score) - 1), ARGV[1])
redis.pcall('PUBLISH', ARGV[2], '0')
return 1
