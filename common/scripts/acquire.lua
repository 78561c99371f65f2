-- May I renew this connection's token? At most one may, and what it is about to do is written down first.
-- KEYS {c:ID}, {c:ID}:lease
-- ARGV gen and ver of the token I used (0 0 = none), nonce, lease ms, grace ms
-- Answers one of
--   HAVE ver                      newer and unexpired: read the record and use it
--   LEASE fence gen ver exp cfg cm cd rt cs replays dk tk   you renew (asking again with the same nonce answers
--                                 LEASE again). replays: 0, or how often this refresh token will have been
--                                 sent again after an answer that nobody stored; the caller looks at its policy
--   BUSY ms                       another one is renewing, its lease ends in ms
--   GRACE until                   a holder went silent after it may have sent the refresh token
--   BACKOFF until                 the last try failed
--   CONSENT reason                its owner must link the account again
--   BEHIND ver                    you know a higher version, or a later link, than this record has
--   GONE state                    no such connection, disabled or removed
-- The intent {fence, nonce, hash of the refresh token, time} is written before the network is touched.
-- A nonce stands for one token call: who asks again with it says that nothing was sent under it, so it
-- gets its lease back also when the first answer was lost for longer than the lease.
-- The replay: an intent whose holder is silent past lease and grace is replaced, and pf keeps its fence: the
-- first one of this version whose answer may yet come. store takes that answer, because a token that arrives
-- late is better than none.
-- Grants whose refresh token may be used up by the request that sends it.
local used_up = {refresh_token = 1, authorization_code = 1, device_code = 1}
local h = redis.call('HMGET', KEYS[1], 'gen', 'ver', 'state', 'exp', 'next', 'it', 'grant', 'why', 'if', 'in',
  'cfg', 'cm', 'cd', 'rt', 'cs', 'rn', 'dk', 'tk')
if not h[1] then return {'GONE', 'unknown'} end
local state = h[3]
if state == 'DISABLED' or state == 'REMOVED' then return {'GONE', state} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local gen, ver, exp = tonumber(h[1]), tonumber(h[2]), tonumber(h[4] or 0)
local same_gen = gen == tonumber(ARGV[1])
if tonumber(ARGV[1]) > gen or (same_gen and tonumber(ARGV[2]) > ver) then return {'BEHIND', ver} end
if state == 'NEEDS_CONSENT' then return {'CONSENT', h[8] or ''} end
if ver > 0 and exp > now and not (same_gen and ver == tonumber(ARGV[2])) then return {'HAVE', ver} end
local lease = redis.call('GET', KEYS[2])
local fence, replays = nil, tonumber(h[16] or 0)
if lease then
  local number, nonce = lease:match('^(%d+):(.*)$')
  if nonce ~= ARGV[3] then return {'BUSY', redis.call('PTTL', KEYS[2])} end
  fence = number
else
  local again = h[6] and h[10] == ARGV[3]
  local lost = h[6] and not again and used_up[h[7]]
  if lost then
    -- somebody wrote an intent and went silent: the refresh token may be used up, the answer lost
    local until_ms = tonumber(h[6]) + tonumber(ARGV[4]) + tonumber(ARGV[5])
    if now < until_ms then return {'GRACE', until_ms} end
  end
  if h[5] and tonumber(h[5]) > now then return {'BACKOFF', h[5]} end
  -- A full Redis drains only with tokens. A first write that frees memory (there is no lease, but that
  -- counts as well) lets the following ones pass under OOM.
  redis.call('DEL', KEYS[2])
  if lost then
    redis.call('HSETNX', KEYS[1], 'pf', h[9])
    replays = redis.call('HINCRBY', KEYS[1], 'rn', 1)
  end
  fence = again and h[9] or redis.call('HINCRBY', KEYS[1], 'fence', 1)
  redis.call('SET', KEYS[2], fence .. ':' .. ARGV[3], 'PX', ARGV[4])
  redis.call('HSET', KEYS[1], 'state', 'RENEWING', 'if', fence, 'in', ARGV[3], 'it', now,
    'ih', redis.sha1hex(h[14] or ''))
end
return {'LEASE', tostring(fence), gen, ver, exp, h[11] or '', h[12] or '', h[13] or '', h[14] or '', h[15] or '',
  replays, h[17] or '', h[18] or ''}
