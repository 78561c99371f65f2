-- Forget a connection's grant: its tokens and secrets are gone from here, and its account must be linked anew.
-- KEYS {c:ID}, {c:ID}:lease      ARGV text for people, changed channel, connection id
-- Answers OK, gen, and what was forgotten: at, rt, cs, cfg, cm, cd, gen, ver, tk (awq-ctl tells the provider); or NONE.
-- The new gen makes every answer that is still under way LOST, and what workers remember worthless. `lh` stays:
-- the refresh token that it was linked with is known again, and is no new grant. A disabled connection stays so.
local h = redis.call('HMGET', KEYS[1], 'gen', 'state')
if not h[1] or h[2] == 'REMOVED' then return {'NONE'} end
local had = redis.call('HMGET', KEYS[1], 'at', 'rt', 'cs', 'cfg', 'cm', 'cd', 'gen', 'ver', 'tk')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local gen = math.max(tonumber(h[1]) + 1, t[1] * 1000000 + t[2]) -- apply.lua says why
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'at', 'rt', 'cs', 'dk', 'tk', 'if', 'in', 'ih', 'it', 'next', 'tries', 'ff', 'sf', 'pf', 'rn', 'born',
  'scope')
redis.call('HSET', KEYS[1], h[2] == 'DISABLED' and 'ds' or 'state', 'NEEDS_CONSENT', 'ver', 0, 'exp', 0,
  'gen', string.format('%d', gen), 'why', 'revoked', 'fm', ARGV[1], 'ft', now)
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return {'OK', gen, unpack(had)}
