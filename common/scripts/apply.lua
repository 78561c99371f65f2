-- Write a connection's settings and, when the account is linked anew, its grant.
-- KEYS {c:ID}, {c:ID}:lease
-- ARGV gen and ver it was read at ("" "" = must not exist or be REMOVED), cfg, cm, cd, grant, cs, rt, at, lh (keyed
--      hash of the refresh token as linked), link (1: gen + 1, tokens begin anew; 0: settings only),
--      changed channel, connection id
-- rt and at are sealed for the new cd; "" = none. Answers OK gen ver, or MOVED (read again, try again).
-- A renewal under way while settings change is told CFG by store; while the account is linked anew, LOST.
local h = redis.call('HMGET', KEYS[1], 'gen', 'ver', 'state')
local fresh = not h[1] or h[3] == 'REMOVED'
if ARGV[1] == '' then
  if not fresh then return {'MOVED'} end
elseif h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then
  return {'MOVED'}
end
local gen = tonumber(h[1] or 0)
local ver = tonumber(h[2] or 0)
local set = {'HSET', KEYS[1], 'cfg', ARGV[3], 'cm', ARGV[4], 'cd', ARGV[5], 'grant', ARGV[6], 'cs', ARGV[7]}
local function put(k, v) set[#set + 1] = k; set[#set + 1] = v end
if ARGV[11] == '1' then
  gen = gen + 1
  ver = 0
  put('gen', gen); put('ver', 0); put('state', 'DUE'); put('exp', 0); put('rt', ARGV[8]); put('lh', ARGV[10])
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[1], 'at', 'if', 'ih', 'it', 'next', 'tries', 'why', 'fm', 'ft', 'sf', 'born', 'scope', 'cool')
else
  if ARGV[8] ~= '' then put('rt', ARGV[8]) end
  if ARGV[9] ~= '' then put('at', ARGV[9]) end
  -- a wrong client secret or scope is mended by new settings: try at once
  if h[3] == 'BACKOFF' then put('state', 'DUE') end
  redis.call('HDEL', KEYS[1], 'next', 'tries')
end
redis.call(unpack(set))
redis.call('PUBLISH', ARGV[12], ARGV[13])
return {'OK', gen, ver}
