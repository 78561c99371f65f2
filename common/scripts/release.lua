-- Give back jobs that were taken but not started (drain, a suspect's neighbours): not counted.
-- KEYS queue      ARGV consumer, entry, entry ... (at most 50)
-- Answers how many were put back; those that were not ours are left alone.
local moved = 0
for i = 2, #ARGV do
  local p = redis.pcall('XPENDING', KEYS[1], 'w', ARGV[i], ARGV[i], 1, ARGV[1])
  if not p.err and #p == 1 then
    local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
    redis.call('XACK', KEYS[1], 'w', ARGV[i])
    if entry then
      redis.call('XDEL', KEYS[1], ARGV[i])
      redis.call('XADD', KEYS[1], '*', unpack(entry[2]))
      moved = moved + 1
    end
  end
end
return moved
