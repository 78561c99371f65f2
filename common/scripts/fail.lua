-- A renewal did not give a token.
-- KEYS {c:ID}, {c:ID}:lease
-- ARGV fence, nonce, gen, class, reason, text for people, backoff base ms, cap ms, floor ms
--      (Retry-After), random in [0,1000], changed channel, connection id
-- class: not_sent  nothing left: the intent is taken back; try again after a backoff
--        transient, throttled, config   a complete answer that is no token and may change: intent taken back,
--                  backoff (the three differ in base, cap and floor, and in what people read)
--        consent   the grant is refused for good: NEEDS_CONSENT
--        unknown   it may have been processed: the intent stays for a refresh token (acquire judges it
--                  after the grace); for other grants like transient
-- A replay that did not happen or was put off does not count, and what it was to find out is still not
-- known: the intent is again the lost one's. A replay that is refused says answer_lost, not refused: the
-- grant was good until an answer got lost.
-- Answers FAILED state next-ms tries why, or LOST (linked anew, stored, or another fence meanwhile). A repeat
-- whose answer was lost is told FAILED again, and counted once.
-- Grants whose refresh token may be used up by the request that sends it.
local used_up = {refresh_token = 1, authorization_code = 1, device_code = 1}
local h = redis.call('HMGET', KEYS[1], 'gen', 'fence', 'grant', 'state', 'tries', 'if', 'ff', 'next', 'pf', 'in', 'why')
if not h[1] or h[1] ~= ARGV[3] or h[2] ~= ARGV[1] or h[4] == 'REMOVED' then return {'LOST'} end
local mark = ARGV[1] .. ':' .. ARGV[2]
if h[7] == mark then return {'FAILED', h[4], h[8] or '0', h[5] or '0', h[11] or ''} end
local held = redis.call('GET', KEYS[2])
-- No intent of ours: its token was stored, and this is a late word from before. The fence alone does not
-- say whose it is: a Redis that forgot our lease gave the same number to another.
if h[6] ~= ARGV[1] or h[10] ~= ARGV[2] then return {'LOST'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local class = ARGV[4]
if class == 'unknown' and not used_up[h[3]] then class = 'transient' end
local replay, why = h[9], ARGV[5]
if replay and class == 'consent' then why = 'answer_lost' end
local tries = tonumber(h[5] or 0) + 1
local ceiling = math.min(tonumber(ARGV[8]), tonumber(ARGV[7]) * 2 ^ math.min(tries - 1, 20))
local next_ms = now + math.max(tonumber(ARGV[9]), math.floor(ceiling * tonumber(ARGV[10]) / 1000))
local state = class == 'consent' and 'NEEDS_CONSENT' or 'BACKOFF'
-- HDEL first: a first write that frees memory lets the next one pass under OOM. The nonce goes in any
-- case: who fails must not get this lease again by asking with it.
redis.call('HDEL', KEYS[1], 'in')
if replay and class ~= 'unknown' and class ~= 'consent' then
  redis.call('HSET', KEYS[1], 'if', replay, 'it', 0)
  redis.call('HINCRBY', KEYS[1], 'rn', -1)
elseif class ~= 'unknown' then
  redis.call('HDEL', KEYS[1], 'if', 'ih', 'it')
end
redis.call('HSET', KEYS[1], h[4] == 'DISABLED' and 'ds' or 'state', state, 'why', why, 'fm', ARGV[6], 'ft', now, 'fc', class, 'tries', tries,
  'next', next_ms, 'ff', mark)
if held then redis.call('DEL', KEYS[2]) end
redis.pcall('PUBLISH', ARGV[11], ARGV[12])
return {'FAILED', state, next_ms, tries, why}
