-- Commit up to 16 finished steps: acknowledge and delete the job, record the result, queue the next step.
-- KEYS per job: queue, run:RUN, out:NAME
-- ARGV consumer, result cap, then per job: entry, seq, nonce, result, next j ("" = none), next s,
--      state, ttl ms of the run record (0 = the run goes on), write to out (1 or 0)
-- Answers per job: 1 COMMITTED, 2 LOST (not ours any more; nothing touched), 3 DUPLICATE (this SEQ was
-- committed before; our entry is gone), 4 CANCELLED (committed, but the run was cancelled: no next
-- step; the run's end is recorded and its result, left by cancel, written), or an error text (nothing
-- was changed for that job: it is still pending and ours).
-- Fence: XACK does not check the owner (redis.io XACK), XPENDING with a consumer does.
-- Order: XACK of all that is ours, the adds, XDEL of all that was done. XACK makes the script a writer
-- that may go on under OOM; until XDEL the body is in the stream, and XCLAIM FORCE puts the pending
-- entry back where an add failed. Between XACK and XDEL nothing may raise an error: pcalls only.
-- Field c0 of the run: SEQ:nonce of the last commit, after an x when the run was cancelled. Result (r)
-- and end of life are written when the run ends.
-- Every step pays for what is called here, a tenth of its time in Redis for each call: hence one HGET,
-- one XACK and one XDEL for all, trimming and TIME once a batch.
local try, call = redis.pcall, redis.call
local me, cap, count = ARGV[1], ARGV[2], #KEYS / 3
local answers, acks, dels, trimmed, ends = {}, {}, {}, {}, {}

local function put(lists, first, q, id)
  local list = lists[q]
  if not list then
    list = {first, q, first == 'XACK' and 'w' or nil}
    lists[q] = list
  end
  list[#list + 1] = id
end

for i = 1, count do
  local q, a = KEYS[i * 3 - 2], i * 9 - 6
  local id = ARGV[a]
  local pending = try('XPENDING', q, 'w', id, id, 1, me)
  if pending.err and pending.err:sub(1, 7) ~= 'NOGROUP' then
    answers[i] = pending.err
  elseif not pending[1] then
    answers[i] = 2
  elseif not (tonumber(ARGV[a + 1]) and tonumber(ARGV[a + 7])) then
    answers[i] = 'ERR seq or ttl is not a number'
  else
    put(acks, 'XACK', q, id)
  end
end
for _, list in pairs(acks) do call(unpack(list)) end

for i = 1, count do
  local q, run, out = KEYS[i * 3 - 2], KEYS[i * 3 - 1], KEYS[i * 3]
  local a = i * 9 - 6
  local id, seq, result, next_j = ARGV[a], ARGV[a + 1], ARGV[a + 3], ARGV[a + 4]
  local mark = seq .. ':' .. ARGV[a + 2]
  local last = try('HGET', run, 'c0')
  local failed, cancelled = last and last.err, false
  if last and not failed and last:sub(1, 1) == 'x' then
    cancelled, last = next_j ~= '', last:sub(2)
  end
  if answers[i] then
    -- a repeat whose first answer got lost sees its own nonce; anything else has lost the lease
    if answers[i] == 2 then answers[i] = failed or (last == mark and 1 or 2) end
  elseif last and not failed and (tonumber(last:match('^%d+')) or -1) >= tonumber(seq) then
    put(dels, 'XDEL', q, id)
    answers[i] = last == mark and 1 or 3
  else
    local state, ttl, out_id = ARGV[a + 6], ARGV[a + 7], nil
    if not failed and ARGV[a + 8] == '1' then
      if trimmed[out] then
        out_id = try('XADD', out, '*', 'r', result)
      else
        out_id = try('XADD', out, 'MAXLEN', '~', cap, '*', 'r', result)
        trimmed[out] = true
      end
      failed = out_id.err
    end
    if failed then
      -- put back below
    elseif cancelled then
      local left = try('HMGET', run, 'cn', 'cr')
      state, ttl, result = 'cancelled', left[1] or ttl, left[2] or result
      if out_id then failed = try('XADD', out, '*', 'r', result).err end
    elseif next_j ~= '' then
      failed = try('XADD', q, '*', 'j', next_j, 's', ARGV[a + 5]).err
    end
    if failed then
      if out_id and not out_id.err then try('XDEL', out, out_id) end
      try('XCLAIM', q, 'w', me, 0, id, 'FORCE', 'JUSTID')
      answers[i] = failed
    else
      if ttl == '0' then
        try('HSET', run, 'c0', mark, 'st', state)
      else
        if not ends[ttl] then
          local t = call('TIME')
          ends[ttl] = string.format('%d', t[1] * 1000 + ttl)
        end
        try('HSET', run, 'c0', mark, 'st', state, 'r', result)
        try('PEXPIREAT', run, ends[ttl])
      end
      put(dels, 'XDEL', q, id)
      answers[i] = cancelled and 4 or 1
    end
  end
end
for _, list in pairs(dels) do call(unpack(list)) end
return answers
