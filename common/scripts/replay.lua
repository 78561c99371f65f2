-- A person sends a dead letter back to its queue: reclaims forgotten, attempts begun anew (field x).
-- KEYS dead, held, queue, run:RUN      ARGV name
-- Answers OK or NONE.
local body = redis.call('HGET', KEYS[2], ARGV[1])
if not body or not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 'NONE' end
local queue, j, d, s = cmsgpack.unpack(body)
redis.call('XLEN', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], '*', 'j', j, 's', s, 'x', '1')
redis.call('HSET', KEYS[4], 'st', 'ready', 'pl', 'q:' .. queue)
return 'OK'
