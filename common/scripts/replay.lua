-- A person sends a dead letter back to its queue: reclaims forgotten, attempts begun anew (field x), and
-- the marks of calls that may have been made (m<SEQ>.<attempt>, ambiguous: dead) taken away: who sends a
-- letter of unknown outcome back has decided that it is to be called again.
-- KEYS dead, held, queue, run:RUN, run:ID of the id that its envelope names      ARGV name
-- Where RUN is bad~... the record of RUN was the letter's alone, and goes with it; that of ID waits again if it
-- ended by this letter (bury.lua).
-- Answers OK; NONE; PASSED: its step has been committed since, by another job of its id (nothing was changed: a copy
-- would be dropped, and whoever waits would wait for it); an error of the queue leaves the letter where it was.
local body = redis.call('HGET', KEYS[2], ARGV[1])
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not body or not score then return 'NONE' end
local queue, j, d, s = cmsgpack.unpack(body)
local done = redis.call('HGET', KEYS[4], 'c0') -- a wrong type says so before the first write
redis.call('HGET', KEYS[5], 'st')
done = done and tonumber(done:match('^x?(%d+)'))
if done and done >= tonumber(ARGV[1]:match('%d+$') or 0) then return 'PASSED' end
redis.call('ZREM', KEYS[1], ARGV[1])
local added = redis.pcall('XADD', KEYS[3], '*', 'j', j, 's', s, 'x', '1')
if added.err then
  redis.call('ZADD', KEYS[1], score, ARGV[1])
  return added
end
redis.call('HDEL', KEYS[2], ARGV[1])
local marks = '^m' .. (ARGV[1]:match('%d+$') or '') .. '%.%d+$'
for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
  if field:match(marks) then redis.call('HDEL', KEYS[4], field) end
end
local t = redis.call('TIME')
local run, now = KEYS[4], t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[1]:sub(1, 4) == 'bad~' then
  redis.call('DEL', run)
  run = redis.call('HGET', KEYS[5], 'lt') == ARGV[1] and KEYS[5]
end
if run then
  redis.call('HDEL', run, 'lt')
  redis.call('HSET', run, 'st', 'ready', 'pl', 'q:' .. queue, 'tm', now, 'en', added)
  redis.call('PERSIST', run)
end
return 'OK'
