-- Remove a connection: nothing of its secrets stays, a tombstone does, so that nothing old comes back.
-- KEYS {c:ID}, {c:ID}:lease, {c:ID}:lane      ARGV changed channel, connection id
-- Answers OK, gen, and what was removed: at, rt, cs, cfg, cm, cd, gen, ver, tk (awq-ctl tells the provider); or NONE.
local gen = redis.call('HGET', KEYS[1], 'gen')
if not gen or redis.call('HGET', KEYS[1], 'state') == 'REMOVED' then return {'NONE'} end
local had = redis.call('HMGET', KEYS[1], 'at', 'rt', 'cs', 'cfg', 'cm', 'cd', 'gen', 'ver', 'tk')
local t = redis.call('TIME')
gen = math.max((tonumber(gen) or 0) + 1, t[1] * 1000000 + t[2]) -- apply.lua says why
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'gen', string.format('%d', gen), 'ver', 0, 'state', 'REMOVED')
redis.pcall('PUBLISH', ARGV[1], ARGV[2])
return {'OK', gen, unpack(had)}
