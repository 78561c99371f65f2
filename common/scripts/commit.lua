-- Commit up to 16 finished steps: acknowledge and delete the job, record the result, queue the next step.
-- KEYS per job: queue, run:RUN, out:NAME
-- ARGV consumer, result cap, then per job: entry, seq, nonce, result, next j ("" = none), next s,
--      state, ttl ms of the run record (0 = the run goes on), write to out (1 or 0)
-- Answers per job: 1 COMMITTED, 2 LOST (not ours any more; nothing touched), 3 DUPLICATE (this SEQ was
-- committed before; our entry is gone), 4 CANCELLED (committed, but the run was cancelled: no next
-- step; the run's end is recorded and its result, left by cancel, written), or an error text (nothing
-- was changed for that job: it is still pending and ours).
-- Fence: XACK does not check the owner (redis.io XACK), XPENDING with a consumer does.
-- Order: XACK, adds, XDEL. XACK makes the script a writer that may go on under OOM; until XDEL the
-- body is in the stream, and XCLAIM FORCE puts the pending entry back if an add fails.
local call, try = redis.call, redis.pcall
local me, cap = ARGV[1], ARGV[2]
local answers = {}
for i = 1, #KEYS / 3 do
  local q, run, out = KEYS[i * 3 - 2], KEYS[i * 3 - 1], KEYS[i * 3]
  local a = i * 9 - 6
  local id, seq, result, next_j = ARGV[a], ARGV[a + 1], ARGV[a + 3], ARGV[a + 4]
  local state, ttl = ARGV[a + 6], ARGV[a + 7]
  local mark = seq .. ':' .. ARGV[a + 2]
  local number = tonumber(seq)
  local mine = try('XPENDING', q, 'w', id, id, 1, me)
  local seen = try('HMGET', run, 's0', 'c0', 'cn')
  if seen.err then
    answers[i] = seen.err
  elseif not number or not tonumber(ttl) then
    answers[i] = 'ERR seq or ttl is not a number'
  elseif mine.err and mine.err:sub(1, 7) ~= 'NOGROUP' then
    answers[i] = mine.err
  elseif mine.err or #mine == 0 then
    -- a repeat whose first answer got lost sees its own nonce; anything else has lost the lease
    answers[i] = seen[2] == mark and 1 or 2
  elseif seen[1] and tonumber(seen[1]) > number then
    call('XACK', q, 'w', id)
    call('XDEL', q, id)
    answers[i] = seen[2] == mark and 1 or 3
  else
    local cancelled = seen[3] and next_j ~= ''
    call('XACK', q, 'w', id)
    local failed, out_id, end_id
    if ARGV[a + 8] == '1' then
      out_id = try('XADD', out, 'MAXLEN', '~', cap, '*', 'r', result)
      failed = out_id.err
    end
    if cancelled then
      state, ttl, result = 'cancelled', seen[3], call('HGET', run, 'cr') or result
      if out_id and not failed then
        end_id = try('XADD', out, 'MAXLEN', '~', cap, '*', 'r', result)
        failed = end_id.err
      end
    elseif next_j ~= '' and not failed then
      failed = try('XADD', q, '*', 'j', next_j, 's', ARGV[a + 5]).err
    end
    if failed then
      if out_id and not out_id.err then call('XDEL', out, out_id) end
      call('XCLAIM', q, 'w', me, 0, id, 'FORCE', 'JUSTID')
      answers[i] = failed
    else
      call('XDEL', q, id)
      call('HSET', run, 's0', number + 1, 'c0', mark, 'st', state, 'r', result)
      if ttl ~= '0' then call('PEXPIRE', run, ttl) end
      answers[i] = cancelled and 4 or 1
    end
  end
end
return answers
