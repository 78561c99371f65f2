-- One job of a producer's inbox, which passed its checks, onto its queue; or one that did not, away.
-- KEYS in:NAME, queue, held, dead, id:ID, run:ID
-- ARGV entry id, backlog limit, j, s (j empty: it is refused, and only taken out of the inbox), dedup ms, queue name
-- Answers MOVED, REFUSED, DUPLICATE (its id is known, as enqueue says it), FULL (it stays) or GONE (another worker
-- was quicker).
-- What was looked at is what is put: the entry's fields are not read again. Of one that is refused they may be huge.
if ARGV[3] == '' then return redis.call('XDEL', KEYS[1], ARGV[1]) == 1 and 'REFUSED' or 'GONE' end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'GONE' end
local taken = redis.call('EXISTS', KEYS[5], KEYS[6]) > 0 -- as in enqueue.lua
local again = taken and redis.call('EXISTS', KEYS[5]) == 0 and redis.pcall('HEXISTS', KEYS[6], 'lt') == 1
if taken and not again then
  redis.call('XDEL', KEYS[1], ARGV[1])
  return 'DUPLICATE'
end
local backlog = redis.call('XLEN', KEYS[2]) + redis.call('HLEN', KEYS[3]) - redis.call('ZCARD', KEYS[4])
if backlog >= tonumber(ARGV[2]) then return 'FULL' end
local added = redis.pcall('XADD', KEYS[2], '*', 'j', ARGV[3], 's', ARGV[4])
if added.err then return added end
redis.call('XDEL', KEYS[1], ARGV[1])
local t = redis.call('TIME')
if again then redis.call('DEL', KEYS[6]) end
redis.call('HSET', KEYS[6], 'st', 'ready', 'pl', 'q:' .. ARGV[6], 'tm', t[1] * 1000 + math.floor(t[2] / 1000), 'en', added)
redis.call('SET', KEYS[5], '1', 'PX', ARGV[5])
return 'MOVED'
