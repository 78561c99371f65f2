-- Give back jobs that were taken but not started (drain, a suspect's neighbours): not counted.
-- KEYS queue      ARGV consumer, entry, entry ... (at most 50; 256 KiB of bodies a call)
-- Answers how many were put back; those that were not ours are left alone. Where bodies are big, ask
-- again with the same entries until it answers 0.
-- Order: XACK, XADD, XDEL; when the queue refuses the entry, XCLAIM FORCE makes it pending again.
-- Only fields awq knows go along: a producer's thousands of fields would not fit Lua's stack.
local me, moved, bytes = ARGV[1], 0, 0
for i = 2, math.min(#ARGV, 51) do
  local id = ARGV[i]
  if bytes >= 262144 then break end
  local p = redis.pcall('XPENDING', KEYS[1], 'w', id, id, 1, me)
  if p.err and p.err:sub(1, 7) ~= 'NOGROUP' then return p end
  if not p.err and #p == 1 then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    redis.call('XACK', KEYS[1], 'w', id)
    if entry then
      local has = {}
      for f = 1, #entry[2], 2 do has[entry[2][f]] = has[entry[2][f]] or entry[2][f + 1] end
      local j = has.j or ''
      local add = {'XADD', KEYS[1], '*', 'j', j}
      if has.d then add[#add + 1] = 'd'; add[#add + 1] = has.d end
      if has.s then add[#add + 1] = 's'; add[#add + 1] = has.s end
      if has.x then add[#add + 1] = 'x'; add[#add + 1] = has.x end
      local added = redis.pcall(unpack(add))
      if added.err then
        redis.call('XCLAIM', KEYS[1], 'w', me, 0, id, 'FORCE', 'JUSTID')
        return added
      end
      redis.call('XDEL', KEYS[1], id)
      bytes = bytes + #j
      moved = moved + 1
    end
  end
end
return moved
