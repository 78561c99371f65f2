-- Commit up to 16 finished steps: acknowledge and delete the job, record the result, queue the next step.
-- KEYS per job: queue, run:RUN, out:NAME
-- ARGV consumer, result cap, then per job: entry, seq, nonce, result, next j ("" = none), next s,
--      state, ttl ms of the run record (0 = the run goes on), write to out (1 or 0)
-- Answers per job: 1 COMMITTED, 2 LOST (not ours any more; nothing touched), 3 DUPLICATE (this SEQ was
-- committed before; our entry is gone), 4 CANCELLED (committed, but the run was cancelled: no next
-- step), or an error text (nothing was changed for that job: it is still pending and ours).
-- Fence: XACK does not check the owner (redis.io XACK), XPENDING with a consumer does.
-- Order: XACK, adds, XDEL. XACK makes the script a writer that may go on under OOM; until XDEL the
-- body is in the stream, and XCLAIM FORCE puts the pending entry back if an add fails.
local me, cap = ARGV[1], ARGV[2]
local answers = {}
for i = 1, #KEYS / 3 do
  local q, run, out = KEYS[i * 3 - 2], KEYS[i * 3 - 1], KEYS[i * 3]
  local a = i * 9 - 6
  local id, seq, nonce, result = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local next_j, state, ttl = ARGV[a + 4], ARGV[a + 6], ARGV[a + 7]
  local mine = redis.pcall('XPENDING', q, 'w', id, id, 1, me)
  local seen = redis.pcall('HMGET', run, 's0', 'c0', 'cn')
  if seen.err then
    answers[i] = seen.err
  elseif mine.err or #mine == 0 then
    -- a repeat whose first answer got lost sees its own nonce; anything else has lost the lease
    answers[i] = seen[2] == seq .. ':' .. nonce and 1 or 2
  elseif seen[1] and tonumber(seen[1]) > tonumber(seq) then
    redis.call('XACK', q, 'w', id)
    redis.call('XDEL', q, id)
    answers[i] = seen[2] == seq .. ':' .. nonce and 1 or 3
  else
    redis.call('XACK', q, 'w', id)
    local failed, out_id, next_id
    if ARGV[a + 8] == '1' then
      out_id = redis.pcall('XADD', out, 'MAXLEN', '~', cap, '*', 'r', result)
      if out_id.err then failed = out_id.err end
    end
    local go_on = next_j ~= '' and not seen[3]
    if go_on and not failed then
      next_id = redis.pcall('XADD', q, '*', 'j', next_j, 's', ARGV[a + 5])
      if next_id.err then failed = next_id.err end
    end
    if failed then
      if out_id and not out_id.err then redis.call('XDEL', out, out_id) end
      redis.call('XCLAIM', q, 'w', me, 0, id, 'FORCE', 'JUSTID')
      answers[i] = failed
    else
      redis.call('XDEL', q, id)
      redis.call('HSET', run, 's0', seq + 1, 'c0', seq .. ':' .. nonce, 'st', state, 'r', result)
      if ttl ~= '0' then redis.call('PEXPIRE', run, ttl) end
      answers[i] = (next_j ~= '' and not go_on) and 4 or 1
    end
  end
end
return answers
