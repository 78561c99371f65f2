-- Write a connection's settings and, when the account is linked anew, its grant.
-- KEYS {c:ID}, {c:ID}:lease
-- ARGV gen and ver it was read at ("" "" = must not exist or be REMOVED), cfg, cm, cd, grant, cs, rt, at, lh (sealed
--      hash of the refresh token as linked), link (1: tokens begin anew; 0: settings only),
--      changed channel, connection id, gen of a new link (what rt and cs are sealed for), dk (the DPoP key,
--      sealed; "" = none, or for settings only under the same cd: the stored one stays), tk (the TLS client certificate and key, sealed; "" = none),
--      of a link whose token came with it (at is sealed as version 1 then): its lifetime in ms, its scope
-- A new link's gen is Redis' time in us: had Redis forgotten a link and were counted on from what it knows, two
-- accounts could get one gen, and a token that is still on its way to the first be stored for the second.
-- rt and at are sealed for the new cd; "" = none: the stored one is kept while cd stays the same. Under a
-- new cd it could not be opened any more, so an access token that is not given again is dropped (and
-- renewed), and a stored refresh token must be given again. A new connection is always a link.
-- Answers OK gen ver, or MOVED (read again, try again).
-- A disabled connection stays disabled: that ends by `conn enable` only, not by a file that is applied again.
-- A renewal under way while settings change is told CFG by store; while the account is linked anew, LOST.
local h = redis.call('HMGET', KEYS[1], 'gen', 'ver', 'state', 'cd', 'rt', 'at')
local fresh = not h[1] or h[3] == 'REMOVED'
if ARGV[1] == '' then
  if not fresh then return {'MOVED'} end
elseif h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then
  return {'MOVED'}
end
local link = ARGV[11] == '1' or fresh
local gen, new = tonumber(h[1] or 0), tonumber(ARGV[14])
if link and not new then return redis.error_reply('ERR the gen of a new link is not a number') end
if link and new <= gen then return {'MOVED'} end
local ver = tonumber(h[2] or 0)
local set = {'HSET', KEYS[1], 'cfg', ARGV[3], 'cm', ARGV[4], 'cd', ARGV[5], 'grant', ARGV[6], 'cs', ARGV[7]}
local state = h[3] == 'DISABLED' and 'ds' or 'state'
local function put(k, v) set[#set + 1] = k; set[#set + 1] = v end
if ARGV[15] ~= '' then
  put('dk', ARGV[15])
elseif link or h[4] ~= ARGV[5] then
  redis.call('HDEL', KEYS[1], 'dk')
end
if ARGV[16] ~= '' then put('tk', ARGV[16]) else redis.call('HDEL', KEYS[1], 'tk') end
-- its owner has not said yes: conn link brings the refresh token
local waits = (ARGV[6] == 'authorization_code' or ARGV[6] == 'device_code') and ARGV[8] == '' and ARGV[9] == ''
local life = tonumber(ARGV[17])
if link and ARGV[9] ~= '' and not life then return redis.error_reply('ERR the lifetime of a token is not a number') end
if link then
  gen = string.format('%d', new)
  ver = 0
  put('gen', gen); put('ver', 0); put(state, waits and 'NEEDS_CONSENT' or 'DUE'); put('exp', 0); put('rt', ARGV[8]); put('lh', ARGV[10])
  redis.call('DEL', KEYS[2])
  redis.call('HDEL', KEYS[1], 'at', 'if', 'in', 'ih', 'it', 'next', 'tries', 'why', 'fm', 'ft', 'ff', 'sf', 'pf', 'rn', 'born',
    'scope', 'cool', 'cw', 'fc', 'bo', 'bp', 'bu', 'bf', 'bl')
  if waits then put('why', 'not_linked'); put('fm', 'its owner was not asked yet') end
  if ARGV[9] ~= '' then
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    ver = 1
    put('at', ARGV[9]); put('ver', 1); put(state, 'FRESH'); put('exp', now + life); put('born', now); put('scope', ARGV[18])
  end
else
  local resealed = h[4] ~= ARGV[5]
  if ARGV[8] ~= '' then
    put('rt', ARGV[8])
  elseif resealed and h[5] and h[5] ~= '' then
    return redis.error_reply('ERR the refresh token must be sealed for the new settings')
  end
  redis.call('HDEL', KEYS[1], 'next', 'tries')
  if ARGV[9] ~= '' then
    put('at', ARGV[9])
  elseif resealed and h[6] then
    redis.call('HDEL', KEYS[1], 'at')
    put('exp', 0)
    if h[3] == 'FRESH' then put('state', 'DUE') end
  end
  -- a wrong client secret or scope is mended by new settings: try at once
  if h[3] == 'BACKOFF' then put('state', 'DUE') end
end
redis.call(unpack(set))
redis.pcall('PUBLISH', ARGV[12], ARGV[13])
return {'OK', tonumber(gen), ver}
