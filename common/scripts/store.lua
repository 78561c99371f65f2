-- A renewal's answer, whole or not at all: tokens, expiry, version; the lease is freed.
-- KEYS {c:ID}, {c:ID}:lease
-- ARGV fence, nonce, gen, ver it was made from, cd (digest of the cfg it is sealed for), at, rt ("" =
--      keep the old one, re-sealed by the caller when it has to be), lifetime ms left (-1 = unknown,
--      the caller's default is in it then), scope, changed channel, connection id
-- Answers STORED ver exp, CFG (the settings changed meanwhile: seal for the new ones and store again) or
-- LOST. What a refresh token was rotated into exists nowhere else, so it is accepted from whomever it comes,
-- also after its lease ran out, was taken by a replay or was forgotten by Redis, and out of NEEDS_CONSENT, as
-- long as gen and ver have not moved: who stores first has the newest there is. Other grants use nothing up,
-- and only the last fence that was given out stores. A repeat whose answer was lost is told STORED again.
-- A disabled connection stays disabled, and keeps the token.
-- Grants whose refresh token may be used up by the request that sends it.
local used_up = {refresh_token = 1, authorization_code = 1, device_code = 1}
local h = redis.call('HMGET', KEYS[1], 'gen', 'ver', 'fence', 'cd', 'sf', 'exp', 'state', 'grant')
if not h[1] or h[1] ~= ARGV[3] or h[7] == 'REMOVED' then return {'LOST'} end
local ver, life, mark = tonumber(ARGV[4]), tonumber(ARGV[8]), ARGV[1] .. ':' .. ARGV[2]
local fence = tonumber(ARGV[1])
if not ver or not life or not fence then
  return redis.error_reply('ERR fence, ver or lifetime is not a number')
end
if h[5] == mark and tonumber(h[2]) == ver + 1 then return {'STORED', h[2], h[6]} end
local last = tonumber(h[3] or 0)
if tonumber(h[2]) ~= ver or (not used_up[h[8]] and fence ~= last) then return {'LOST'} end
if h[4] ~= ARGV[5] then return {'CFG'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local exp = now + life
-- Never refused by a full Redis: a rotated refresh token exists nowhere else. A first write that frees
-- memory lets the following ones pass under OOM.
redis.call('HDEL', KEYS[1], 'if', 'in', 'ih', 'it', 'next', 'tries', 'why', 'fm', 'ft', 'fc', 'ff', 'pf', 'rn')
redis.call('HSET', KEYS[1], 'at', ARGV[6], 'ver', ver + 1, 'exp', exp,
  h[7] == 'DISABLED' and 'ds' or 'state', 'FRESH', 'scope', ARGV[9],
  'born', now, 'sf', mark, 'fence', math.max(fence, last))
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'rt', ARGV[7]) end
redis.call('DEL', KEYS[2]) -- ours, or a replayer's: its answer would be LOST, nobody is to wait for it
redis.pcall('PUBLISH', ARGV[10], ARGV[11])
return {'STORED', ver + 1, exp}
