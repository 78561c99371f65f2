-- Put one job on a queue, once per id inside the dedup window.
-- KEYS queue, id:ID, run:ID, held, due, dead
-- ARGV name, j, s (or ""), not-before ms (0 = now), backlog limit, dedup ms, queue name, wake channel
-- Answers OK, DUPLICATE or BACKLOG_FULL.
-- DUPLICATE also while the id's run record or a job of that name (a dead letter, say) is still there:
-- such a job would be executed, and its commit refused by SEQ. But a job that was refused unread (field lt of
-- its record: the name of its letter, bury.lua) has not taken the id from one that is mended.
-- An error, and nothing written: ARGV 1 is no ID.0.0; ARGV 2 is JSON text or does not hold the id at all (what a
-- worker would refuse without knowing whose it is); ARGV 7 is no queue's name; a key is another than the one that
-- ARGV 1 or 7 names (the job would lie where nobody looks); the limit or a time is no whole number; a time is past
-- the year 9999, or not-before below 10^11, as seconds are.
-- Backlog = this queue (ready and in flight) + what lies due or parked; dead letters do not count.
local id = ARGV[1]:match('^([%w_:-]+)%.0%.0$')
if not id or #id > 64 then return redis.error_reply('ERR ARGV 1 must be ID.0.0, the id 1-64 of A-Z a-z 0-9 _ : -') end
if ARGV[2]:byte() == 123 or not ARGV[2]:find(id, 1, true) then
  return redis.error_reply('ERR ARGV 2 must be the MessagePack envelope of the job that ARGV 1 names')
end
local queue = ARGV[7] or ''
if #queue > 64 or not queue:find('^[%w_-]+$') then
  return redis.error_reply('ERR ARGV 7 must be the name of the queue, 1-64 of A-Z a-z 0-9 _ -')
end
local base = KEYS[1]:sub(1, -#queue - 3) -- P:{sN}:
if base:byte(-1) ~= 58 or KEYS[1] ~= base .. 'q:' .. queue or KEYS[2] ~= base .. 'id:' .. id
    or KEYS[3] ~= base .. 'run:' .. id or KEYS[4] ~= base .. 'held' or KEYS[5] ~= base .. 'due'
    or KEYS[6] ~= base .. 'dead' then
  return redis.error_reply('ERR KEYS must be q:QUEUE id:ID run:ID held due dead, each after P:{sN}:, the ID of ARGV 1 and the QUEUE of ARGV 7')
end
local at, dedup = tonumber(ARGV[4]), tonumber(ARGV[6])
if not (at and dedup and at >= 0 and at <= 253402300799999 and at % 1 == 0
    and dedup >= 1 and dedup <= 253402300799999 and dedup % 1 == 0) then
  return redis.error_reply('ERR not-before or dedup is not a time in whole ms')
end
if at > 0 and at < 100000000000 then
  return redis.error_reply('ERR not-before is ' .. ARGV[4] .. ': it looks like seconds, milliseconds are wanted')
end
local limit = tonumber(ARGV[5])
if not (limit and limit >= 0 and limit % 1 == 0) then
  return redis.error_reply('ERR the backlog limit is not a whole number of jobs')
end
local taken = redis.call('EXISTS', KEYS[2], KEYS[3]) > 0
local again = taken and redis.call('EXISTS', KEYS[2]) == 0 and redis.pcall('HEXISTS', KEYS[3], 'lt') == 1
if taken and not again or redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1 then
  return 'DUPLICATE'
end
local backlog = redis.call('XLEN', KEYS[1]) + redis.call('HLEN', KEYS[4]) - redis.call('ZCARD', KEYS[6])
if backlog >= limit then return 'BACKLOG_FULL' end
redis.call('ZCARD', KEYS[5]) -- a wrong type says so before the first write
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local state, entry = 'ready', ''
-- The job first, its id last: an error in between leaves a job that a repeat would double, which
-- commit's SEQ check catches; the other order would lose it.
if at > now then
  state = 'due'
  redis.call('HSET', KEYS[4], ARGV[1], cmsgpack.pack(queue, ARGV[2], '0', ARGV[3]))
  redis.call('ZADD', KEYS[5], at, ARGV[1])
  if redis.call('ZRANGE', KEYS[5], 0, 0)[1] == ARGV[1] then redis.pcall('PUBLISH', ARGV[8], ARGV[4]) end
elseif ARGV[3] == '' then
  entry = redis.call('XADD', KEYS[1], '*', 'j', ARGV[2])
else
  entry = redis.call('XADD', KEYS[1], '*', 'j', ARGV[2], 's', ARGV[3])
end
if again then redis.call('DEL', KEYS[3]) end
redis.call('HSET', KEYS[3], 'st', state, 'pl', state == 'due' and 'due' or 'q:' .. queue, 'tm', now, 'en', entry)
redis.call('SET', KEYS[2], '1', 'PX', dedup)
return 'OK'
