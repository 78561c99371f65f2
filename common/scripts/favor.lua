-- Jobs of a tenant that others stand in front of, from their place in a queue onto its lane.
-- KEYS queue, its lane
-- ARGV entry id that they come after, entry id of the last of them, how many at most (up to 64)
-- Answers how many were moved, the last entry that was looked at ("" = there was none), the last entry of the lane
-- that was made ("" = none). An entry that a worker has by now stays where it is.
-- Field t keeps when the job was queued: its entry's id told that.
local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', math.min(tonumber(ARGV[3]), 64))
local moved, bytes, looked, last = 0, 0, '', ''
for _, entry in ipairs(entries) do
  if bytes >= 262144 then break end
  local id, fields = entry[1], entry[2]
  looked = id
  if #redis.call('XPENDING', KEYS[1], 'w', id, id, 1) == 0 then
    local add, timed = {'XADD', KEYS[2], '*'}, false
    for f = 1, math.min(#fields, 64), 2 do
      add[#add + 1] = fields[f]
      add[#add + 1] = fields[f + 1]
      timed = timed or fields[f] == 't'
      bytes = bytes + #fields[f + 1]
    end
    if not timed then
      add[#add + 1] = 't'
      add[#add + 1] = id:match('^%d+')
    end
    local added = redis.pcall(unpack(add))
    if added.err then return added end
    redis.call('XDEL', KEYS[1], id)
    moved, last = moved + 1, added
  end
end
return {moved, looked, last}
