-- Put back what Redis forgot (a failover, a crash): the whole outcome of a renewal, or nothing.
-- KEYS {c:ID}, {c:ID}:lease
-- ARGV gen, ver, cd (digest of the cfg it is sealed for), at, rt ("" = the grant has none), exp and born (ms,
--      Redis' clock), scope, fence, changed channel, connection id
-- Answers RESTORED, MOVED (the record is as new, or of another link), GONE (unknown or removed: never
-- made again from here) or CFG (the settings are others: seal for those and ask again).
-- Whoever renews the version below this one now holds an old refresh token: its lease is taken away, and its
-- answer will be LOST, for ver has moved. A disabled connection stays disabled, and gets its token back: what a
-- refresh token was rotated into exists nowhere else, and disabling is to keep the grant.
local h = redis.call('HMGET', KEYS[1], 'gen', 'ver', 'state', 'cd', 'fence')
if not h[1] or h[3] == 'REMOVED' then return {'GONE'} end
local ver, fence = tonumber(ARGV[2]), tonumber(ARGV[9])
if not ver or not fence or not tonumber(ARGV[6]) or not tonumber(ARGV[7]) then
  return redis.error_reply('ERR ver, fence or a time is not a number')
end
if h[1] ~= ARGV[1] or tonumber(h[2]) >= ver then return {'MOVED'} end
if h[4] ~= ARGV[3] then return {'CFG'} end
redis.call('HDEL', KEYS[1], 'if', 'in', 'ih', 'it', 'next', 'tries', 'why', 'fm', 'ft', 'fc', 'ff', 'sf', 'pf', 'rn')
redis.call('HSET', KEYS[1], 'ver', ver, 'at', ARGV[4], 'exp', ARGV[6], 'born', ARGV[7], 'scope', ARGV[8],
  h[3] == 'DISABLED' and 'ds' or 'state', 'FRESH', 'fence', math.max(fence, tonumber(h[5] or 0)))
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'rt', ARGV[5]) end
redis.call('DEL', KEYS[2])
redis.pcall('PUBLISH', ARGV[10], ARGV[11])
return {'RESTORED'}
