-- A job that cannot succeed without a person becomes a dead letter, with its reason, and a result.
-- KEYS queue, held, dead, run:RUN, out:NAME; and of a job that was refused before its id could be trusted, whose RUN
--      is bad~ENTRY-QUEUE: the queue itself (never its lane), and id:ID, run:ID of the id that it names
-- ARGV consumer, entry, name, seq, j, d, s, queue name, code, text, result, result cap, write to out (1 or 0),
--      ttl ms of the record of a run that ends
-- Answers OK, OK_NO_RESULT (buried, but out:NAME took no result), LOST or DUPLICATE (SEQ has passed, or
-- the name lies there: our entry is gone).
-- Anybody can write another's id into a job. So run:ID ends with it only if it was made for this very entry (en,
-- enqueue.lua), or for one that is not there any more (given back, reclaimed, on a lane), and no step has been committed. In the
-- first case the id is free for the mended job at once.
local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[2], ARGV[2], 1, ARGV[1])
if p.err and p.err:sub(1, 7) ~= 'NOGROUP' then return p end
if p.err or #p == 0 then return 'LOST' end
-- types and arguments are looked at before the first write: Lua does not roll back
local seq = tonumber(ARGV[4])
if not seq then return redis.error_reply('ERR seq is not a number') end
local done = redis.call('HGET', KEYS[4], 'c0') -- SEQ:nonce of the last commit (commit.lua)
done = done and tonumber(done:match('^x?(%d+)')) or -1
local placed = redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1
redis.call('ZCARD', KEYS[3])
local ttl = tonumber(ARGV[14])
if not ttl or ttl < 1 then return redis.error_reply('ERR ttl is not a number') end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('XACK', KEYS[1], 'w', ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if placed or done >= seq then return 'DUPLICATE' end
redis.call('HSET', KEYS[2], ARGV[3], cmsgpack.pack(ARGV[8], ARGV[5], ARGV[6], ARGV[7], ARGV[9], ARGV[10], now))
redis.call('ZADD', KEYS[3], now, ARGV[3])
redis.call('HSET', KEYS[4], 'st', 'dead', 'pl', 'dead', 'tm', now, 'r', ARGV[11])
redis.call('PERSIST', KEYS[4])
if KEYS[8] then
  local h = redis.pcall('HMGET', KEYS[8], 'st', 'pl', 'en', 'c0')
  local mine = h[3] == ARGV[2] and KEYS[1] == KEYS[6] -- a lane counts its own entries
  if h[1] == 'ready' and h[2] == 'q:' .. ARGV[8] and h[3] and (not h[4] or h[4] == 'x')
      and (mine or #redis.call('XRANGE', KEYS[6], h[3], h[3]) == 0) then
    redis.call('HSET', KEYS[8], 'st', 'dead', 'pl', '', 'tm', now, 'r', ARGV[11], 'lt', ARGV[3])
    redis.call('PEXPIRE', KEYS[8], ttl)
    if mine then redis.call('DEL', KEYS[7]) end
  end
end
if ARGV[13] == '1' then
  -- the letter is kept whatever becomes of its result: a result stream of a wrong type is not the job's fault
  local out = redis.pcall('XADD', KEYS[5], 'MAXLEN', '~', ARGV[12], '*', 'r', ARGV[11])
  if out.err then return 'OK_NO_RESULT' end
end
return 'OK'
