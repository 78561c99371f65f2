-- Set a job aside until a time: a retry, a delay, a wait.
-- KEYS queue, held, due, run:RUN, out:NAME
-- ARGV consumer, entry, name, seq, at ms, j, d, s, queue name, wake channel, result cap, write to out (1 or 0),
--      queued ms, last error ("" = no attempt has failed; else SEQ ATTEMPTS STATUS CODE TEXT, for people)
-- Answers OK, LOST, DUPLICATE (the name is already set aside, SEQ has passed, or the run has ended: our entry is gone) or
-- CANCELLED (the run was cancelled while we had it: it has ended, as commit would have ended it).
local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[2], ARGV[2], 1, ARGV[1])
if p.err and p.err:sub(1, 7) ~= 'NOGROUP' then return p end
if p.err or #p == 0 then return 'LOST' end
-- types and arguments are looked at before the first write: Lua does not roll back
local seq, at = tonumber(ARGV[4]), tonumber(ARGV[5])
if not seq or not at or at ~= at then return redis.error_reply('ERR seq or time is not a number') end
local h = redis.call('HMGET', KEYS[4], 'c0', 'cn', 'cr', 'st') -- c0: SEQ:nonce of the last commit (commit.lua)
local done = h[1] and tonumber(h[1]:match('^x?(%d+)')) or -1
local cancelled = h[1] and h[1]:sub(1, 1) == 'x' and h[3]
local left = tonumber(h[2]) or 0 -- anybody may have written it, and an error after XACK would lose the job
left = left > 0 and left < 1e12 and math.ceil(left) or 600000
local placed = redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1
redis.call('ZCARD', KEYS[3])
redis.call('XACK', KEYS[1], 'w', ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
local ended = h[4] == 'done' or h[4] == 'failed' or h[4] == 'expired' or h[4] == 'cancelled'
if placed or done >= seq or ended then return 'DUPLICATE' end
if cancelled then
  -- nobody waits for it any more: it ends here, with what cancel left
  redis.call('HSET', KEYS[4], 'st', 'cancelled', 'pl', '', 'r', h[3])
  redis.call('PEXPIRE', KEYS[4], left)
  if ARGV[12] == '1' then redis.pcall('XADD', KEYS[5], 'MAXLEN', '~', ARGV[11], '*', 'r', h[3]) end
  return 'CANCELLED'
end
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[9], ARGV[6], ARGV[7], ARGV[8]))
redis.call('ZADD', KEYS[3], at, ARGV[3])
redis.call('HSET', KEYS[4], 'st', 'due', 'pl', 'due', 'tm', ARGV[13])
if ARGV[14] ~= '' then redis.call('HSET', KEYS[4], 'er', ARGV[14]) end
if redis.call('ZRANGE', KEYS[3], 0, 0)[1] == ARGV[3] then redis.pcall('PUBLISH', ARGV[10], ARGV[5]) end
return 'OK'
