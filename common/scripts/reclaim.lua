-- Give back what a gone worker held: its pending entries go to the end of the queue, counted (d + 1).
-- KEYS queue, workers
-- ARGV consumer, limit (at most 50), idle ms ("0" = the consumer must not be alive; else its entries
--      idle longer than this are taken although it lives)
-- Answers moved, left pending (of this look), consumer deleted (1 or 0), or -1 when the consumer lives.
-- Alive = its time in `workers` (Redis time) has not passed, looked up here, at each sweep.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local alive = redis.call('ZSCORE', KEYS[2], ARGV[1])
local idle = tonumber(ARGV[3])
if idle == 0 and alive and tonumber(alive) > now then return {-1, 0, 0} end
local limit = math.min(tonumber(ARGV[2]), 50)
local pending
if idle > 0 then
  pending = redis.call('XPENDING', KEYS[1], 'w', 'IDLE', idle, '-', '+', limit, ARGV[1])
else
  pending = redis.call('XPENDING', KEYS[1], 'w', '-', '+', limit, ARGV[1])
end
local moved, bytes = 0, 0
for _, p in ipairs(pending) do
  if bytes < 262144 then
    local entry = redis.call('XRANGE', KEYS[1], p[1], p[1])[1]
    redis.call('XACK', KEYS[1], 'w', p[1])
    if entry then
      redis.call('XDEL', KEYS[1], p[1])
      local fields, d = entry[2], 0
      local add = {'XADD', KEYS[1], '*'}
      for f = 1, #fields, 2 do
        if fields[f] == 'd' then
          d = tonumber(fields[f + 1]) or 0
        else
          add[#add + 1] = fields[f]
          add[#add + 1] = fields[f + 1]
          bytes = bytes + #fields[f + 1]
        end
      end
      add[#add + 1] = 'd'
      add[#add + 1] = d + 1
      redis.call(unpack(add))
    end
    moved = moved + 1
  end
end
local deleted = 0
if idle == 0 then
  local left = redis.call('XPENDING', KEYS[1], 'w', '-', '+', 1, ARGV[1])
  if #left == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'w', ARGV[1])
    deleted = 1
  end
end
return {moved, #pending - moved, deleted}
