-- Give back what a gone worker held: its pending entries go to the end of the queue, counted (d + 1).
-- KEYS queue, workers
-- ARGV consumer, limit (at most 50), idle ms ("0" = the consumer must not be alive; else its entries
--      idle longer than this are taken although it lives)
-- Answers moved, left pending (of this look), consumer deleted (1 or 0), and how many of those moved had
-- no body any more; moved is -1 when the consumer lives.
-- Alive = its time in `workers` (Redis time) has not passed, looked up here, at each sweep.
-- Order: XACK, XADD, XDEL; when the queue refuses the entry, XCLAIM FORCE makes it pending again.
-- A body that no worker could take (over 64 MiB, the biggest --job-max), or a big one (1 MiB) that five may have died of, is cut to
-- its head: the next one buries that.
-- Only fields awq knows go along: a producer's thousands of fields would not fit Lua's stack.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local alive = redis.call('ZSCORE', KEYS[2], ARGV[1])
local idle = tonumber(ARGV[3])
if idle == 0 and alive and tonumber(alive) > now then return {-1, 0, 0, 0} end
local limit = math.min(tonumber(ARGV[2]), 50)
local pending
if idle > 0 then
  pending = redis.call('XPENDING', KEYS[1], 'w', 'IDLE', idle, '-', '+', limit, ARGV[1])
else
  pending = redis.call('XPENDING', KEYS[1], 'w', '-', '+', limit, ARGV[1])
end
local moved, bodiless, bytes = 0, 0, 0
for _, p in ipairs(pending) do
  if bytes >= 262144 then break end
  local id = p[1]
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  redis.call('XACK', KEYS[1], 'w', id)
  if entry then
    local has = {}
    for f = 1, #entry[2], 2 do has[entry[2][f]] = has[entry[2][f]] or entry[2][f + 1] end
    local j = has.j or ''
    local died = math.min(tonumber((has.d or ''):match('^%d+$')) or 0, 1000000) + 1 -- anybody may have written it
    if #j > 67108864 or (died >= 5 and #j > 1048576) then j = j:sub(1, 4096) end
    local add = {'XADD', KEYS[1], '*', 'j', j, 'd', died}
    if has.s then add[#add + 1] = 's'; add[#add + 1] = has.s end
    if has.x then add[#add + 1] = 'x'; add[#add + 1] = has.x end
    local added = redis.pcall(unpack(add))
    if added.err then
      redis.call('XCLAIM', KEYS[1], 'w', ARGV[1], 0, id, 'FORCE', 'JUSTID')
      return added
    end
    redis.call('XDEL', KEYS[1], id)
    bytes = bytes + #j
  else
    bodiless = bodiless + 1
  end
  moved = moved + 1
end
local deleted = 0
if idle == 0 and #redis.call('XPENDING', KEYS[1], 'w', '-', '+', 1, ARGV[1]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'w', ARGV[1])
  deleted = 1
end
return {moved, #pending - moved, deleted, bodiless}
