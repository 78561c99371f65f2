-- Set a job aside until something named happens: conn:ID has a token again, lane:ID is open again.
-- KEYS queue, held, park:RESOURCE, lots, run:RUN
-- ARGV consumer, entry, name, seq, until ms (the deadline; the job is looked at then at the latest),
--      j, d, s, queue name, resource, look-at ms (when the lot is to be looked at), lot limit, wake channel
-- Answers OK, LOST, DUPLICATE or FULL (the lot holds its limit; nothing was changed).
local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[2], ARGV[2], 1, ARGV[1])
if p.err or #p == 0 then return 'LOST' end
local seq = redis.call('HGET', KEYS[5], 's0')
local passed = (seq and tonumber(seq) > tonumber(ARGV[4])) or redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1
if not passed and redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[12]) then return 'FULL' end
redis.call('ZCARD', KEYS[4])
redis.call('XACK', KEYS[1], 'w', ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if passed then return 'DUPLICATE' end
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[9], ARGV[6], ARGV[7], ARGV[8]))
redis.call('ZADD', KEYS[3], ARGV[5], ARGV[3])
redis.call('ZADD', KEYS[4], 'LT', math.min(tonumber(ARGV[11]), tonumber(ARGV[5])), ARGV[10])
redis.call('HSET', KEYS[5], 's0', ARGV[4], 'st', 'parked', 'pl', 'park:' .. ARGV[10])
if redis.call('ZRANGE', KEYS[4], 0, 0)[1] == ARGV[10] then redis.call('PUBLISH', ARGV[13], ARGV[11]) end
return 'OK'
