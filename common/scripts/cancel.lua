-- Stop a run: what lies aside is removed at once; what is in flight is committed without a next step, and
-- ends where it would be set aside (retry.lua, park.lua).
-- KEYS run:RUN, held, set (due, park:RESOURCE or dead), queue, out:NAME, the queue's other stream (its lane)
-- ARGV name ("" = not set aside), entry ("" = not found waiting in the queue), result, result cap,
--      ttl ms, write to out (1 or 0)
-- Answers CANCELLED (it will not run), MARKED (a call may be in flight; no next step will follow) or
-- FINISHED (too late).
-- The mark is an x before the run's c0, where commit sees it. MARKED leaves the result with the run (cr):
-- the move that ends it writes it to out. cn = the ttl the record gets then; a record that this mark
-- made gets it at once, for the id may be a mistake.
local ttl = tonumber(ARGV[5])
local function is_its_queue(place) -- q:NAME, as its record says
  return place and #place > 2 and (KEYS[4]:sub(-#place) == place or KEYS[6]:sub(-#place) == place)
end
if not ttl or ttl < 1 then return redis.error_reply('ERR ttl is not a number') end
local known = redis.call('EXISTS', KEYS[1]) == 1
local h = redis.call('HMGET', KEYS[1], 'st', 'c0', 'lt', 'pl')
local st, mark = h[1], (h[2] or ''):gsub('^x?', 'x', 1)
if st == 'done' or st == 'failed' or st == 'expired' or st == 'cancelled' or h[3] then return 'FINISHED' end
redis.call('HEXISTS', KEYS[2], ARGV[1]) -- a wrong type says so before the first write
local gone = false
if ARGV[1] ~= '' and redis.call('ZREM', KEYS[3], ARGV[1]) == 1 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  gone = true
elseif ARGV[2] ~= '' then
  local p = redis.pcall('XPENDING', KEYS[4], 'w', ARGV[2], ARGV[2], 1)
  if (p.err or #p == 0) and redis.call('XDEL', KEYS[4], ARGV[2]) == 1 then gone = true end
elseif ARGV[1] == '' and st == 'ready' and is_its_queue(h[4]) and redis.pcall('XLEN', KEYS[4]) == 0 and
    redis.pcall('XLEN', KEYS[6]) == 0 then
  gone = true -- its entry was deleted by hand: what is in work lies in the queue until it is committed
end
if not gone then
  redis.call('HSET', KEYS[1], 'c0', mark, 'cn', ARGV[5], 'cr', ARGV[3])
  if not known then redis.call('PEXPIRE', KEYS[1], ttl) end
  return 'MARKED'
end
redis.call('HSET', KEYS[1], 'st', 'cancelled', 'pl', '', 'c0', mark, 'cn', ARGV[5], 'r', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ttl)
if ARGV[6] == '1' then redis.pcall('XADD', KEYS[5], 'MAXLEN', '~', ARGV[4], '*', 'r', ARGV[3]) end
return 'CANCELLED'
