-- Set a job aside until something named happens: conn:ID has a token again, lane:ID is open again.
-- KEYS queue, held, park:RESOURCE, lots, run:RUN, out:NAME
-- ARGV consumer, entry, name, seq, until ms (the deadline; the job is looked at then at the latest),
--      j, d, s, queue name, resource, look-at ms (when the lot is to be looked at), lot limit, wake channel,
--      result cap, write to out (1 or 0), queued ms, last error (as in retry.lua)
-- Answers OK, LOST, DUPLICATE, CANCELLED (both as in retry.lua) or FULL (the lot holds its limit; nothing was
-- changed).
local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[2], ARGV[2], 1, ARGV[1])
if p.err and p.err:sub(1, 7) ~= 'NOGROUP' then return p end
if p.err or #p == 0 then return 'LOST' end
-- types and arguments are looked at before the first write: Lua does not roll back
local seq, till, look = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[11])
if not seq or not till or not look or till ~= till or look ~= look then
  return redis.error_reply('ERR seq or time is not a number')
end
local h = redis.call('HMGET', KEYS[5], 'c0', 'cn', 'cr', 'st') -- c0: SEQ:nonce of the last commit (commit.lua)
local done = h[1] and tonumber(h[1]:match('^x?(%d+)')) or -1
local cancelled = h[1] and h[1]:sub(1, 1) == 'x' and h[3]
local left = tonumber(h[2]) or 0 -- anybody may have written it, and an error after XACK would lose the job
left = left > 0 and left < 1e12 and math.ceil(left) or 600000
local ended = h[4] == 'done' or h[4] == 'failed' or h[4] == 'expired' or h[4] == 'cancelled'
local passed = redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1 or done >= seq or ended
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[12]) and not passed and not cancelled then return 'FULL' end
redis.call('ZCARD', KEYS[4])
redis.call('XACK', KEYS[1], 'w', ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if passed then return 'DUPLICATE' end
if cancelled then
  -- nobody waits for it any more: it ends here, with what cancel left
  redis.call('HSET', KEYS[5], 'st', 'cancelled', 'pl', '', 'r', h[3])
  redis.call('PEXPIRE', KEYS[5], left)
  if ARGV[15] == '1' then redis.pcall('XADD', KEYS[6], 'MAXLEN', '~', ARGV[14], '*', 'r', h[3]) end
  return 'CANCELLED'
end
look = math.min(look, till)
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[9], ARGV[6], ARGV[7], ARGV[8]))
redis.call('ZADD', KEYS[3], till, ARGV[3])
redis.call('ZADD', KEYS[4], 'LT', look, ARGV[10])
redis.call('HSET', KEYS[5], 'st', 'parked', 'pl', 'park:' .. ARGV[10], 'tm', ARGV[16])
if ARGV[17] ~= '' then redis.call('HSET', KEYS[5], 'er', ARGV[17]) end
if redis.call('ZRANGE', KEYS[4], 0, 0)[1] == ARGV[10] then redis.pcall('PUBLISH', ARGV[13], look) end
return 'OK'
