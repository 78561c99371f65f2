-- Set a job aside until something named happens: conn:ID has a token again, lane:ID is open again.
-- KEYS queue, held, park:RESOURCE, lots, run:RUN
-- ARGV consumer, entry, name, seq, until ms (the deadline; the job is looked at then at the latest),
--      j, d, s, queue name, resource, look-at ms (when the lot is to be looked at), lot limit, wake channel
-- Answers OK, LOST, DUPLICATE or FULL (the lot holds its limit; nothing was changed).
local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[2], ARGV[2], 1, ARGV[1])
if p.err and p.err:sub(1, 7) ~= 'NOGROUP' then return p end
if p.err or #p == 0 then return 'LOST' end
-- types and arguments are looked at before the first write: Lua does not roll back
local seq, till, look = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[11])
if not seq or not till or not look or till ~= till or look ~= look then
  return redis.error_reply('ERR seq or time is not a number')
end
local done = redis.call('HGET', KEYS[5], 'c0') -- SEQ:nonce of the last commit (commit.lua)
done = done and tonumber(done:match('^x?(%d+)')) or -1
local passed = redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1 or done >= seq
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[12]) and not passed then return 'FULL' end
redis.call('ZCARD', KEYS[4])
redis.call('XACK', KEYS[1], 'w', ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if passed then return 'DUPLICATE' end
look = math.min(look, till)
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[9], ARGV[6], ARGV[7], ARGV[8]))
redis.call('ZADD', KEYS[3], till, ARGV[3])
redis.call('ZADD', KEYS[4], 'LT', look, ARGV[10])
redis.call('HSET', KEYS[5], 'st', 'parked', 'pl', 'park:' .. ARGV[10])
if redis.call('ZRANGE', KEYS[4], 0, 0)[1] == ARGV[10] then redis.pcall('PUBLISH', ARGV[13], look) end
return 'OK'
