-- Set aside what lies in a set and is no job there: a name without a body, a body that cannot be read,
-- a name that is none. What has a body becomes a dead letter; a bare name is dropped, and a run
-- that waits for it ends: its job is nowhere any more.
-- KEYS set (due or park:RESOURCE), held, dead, out:results, then per member: run:RUN of its letter
-- ARGV ttl ms of the record of a run that ends, result cap, then per member (at most 50; 256 KiB of bodies a
--      call): member, name of its letter, code, text, result, 1 when there is no body as far as we saw
-- Answers member, letter, what for each that was set aside: BURIED (a dead letter now) or DROPPED. The
-- others are not there any more, or not as we saw them, or left for the next call.
-- Remove first, add after: under OOM only that order finishes.
local ttl = tonumber(ARGV[1])
if not ttl or ttl < 1 then return redis.error_reply('ERR ttl is not a number') end
redis.call('ZCARD', KEYS[3]) -- a wrong type says so before the first write
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local answers, n, bytes = {}, 0, 0
for i = 1, math.min(#KEYS - 4, 50) do
  local run, a = KEYS[i + 4], i * 6 - 3
  local member, letter, code, text, result = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local body = redis.call('HGET', KEYS[2], member)
  local ok, queue, j, d, s = pcall(cmsgpack.unpack, body or '')
  ok = ok and type(queue) == 'string' and type(j) == 'string' and type(d) == 'string' and type(s) == 'string'
  local known = ok and #queue <= 64 and queue:find('^[%w_-]+$')
  if bytes < 262144 and not (known and member == letter) and (not body) == (ARGV[a + 5] == '1')
      and redis.call('ZREM', KEYS[1], member) == 1 then
    local st = redis.pcall('HGET', run, 'st')
    local writable = type(st) ~= 'table' -- else of a wrong type: the letter is kept all the same
    local told = false
    answers[n + 1], answers[n + 2], answers[n + 3] = member, letter, body and 'BURIED' or 'DROPPED'
    n = n + 3
    if body then
      bytes = bytes + #body
      redis.call('HDEL', KEYS[2], member)
      redis.call('HSET', KEYS[2], letter,
        cmsgpack.pack(known and queue or 'default', ok and j or body, ok and d or '0', ok and s or '', code, text, now))
      redis.call('ZADD', KEYS[3], now, letter)
      if writable then
        redis.call('HSET', run, 'st', 'dead', 'pl', 'dead', 'tm', now, 'r', result)
        redis.call('PERSIST', run)
        told = true
      end
    elseif st == 'due' or st == 'parked' then
      redis.call('HSET', run, 'st', 'failed', 'pl', '', 'tm', now, 'r', result)
      redis.call('PEXPIRE', run, ttl)
      told = true
    end
    if told then redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', ARGV[2], '*', 'r', result) end
  end
end
return answers
