-- Commit up to 16 finished steps: acknowledge and delete the job, record the result, queue the next step.
-- KEYS queue, out:NAME, then per job: run:RUN
-- ARGV consumer, result cap, ttl ms of the record of a run that ends, write to out (1 or 0), then per job:
--      entry, mark (SEQ:nonce), result, next j ("" = none, the run ends), next s or the end's state
-- Answers per job: 1 COMMITTED, 2 LOST (not ours any more; nothing touched), 3 DUPLICATE (this SEQ was
-- committed before; our entry is gone), 4 CANCELLED (committed, but the run was cancelled: no next
-- step; the run's end is recorded and its result, left by cancel, written), or an error text (nothing
-- was changed for that job: it is still pending and ours).
-- Fence: XACK does not check the owner (redis.io XACK), XPENDING with a consumer does. The jobs of a call
-- were mostly taken together, so one XPENDING over the range from the first to the last of them tells of
-- nearly all; who is not in that answer is asked for alone.
-- Order: XACK of all that is ours, the adds, XDEL of all that was done. XACK makes the script a writer
-- that may go on under OOM; until XDEL the body is in the stream, and XCLAIM FORCE puts the pending
-- entry back where an add failed. Between XACK and XDEL nothing may raise an error: pcalls only.
-- Field c0 of the run: SEQ:nonce of the last commit, after an x when the run was cancelled. Result (r)
-- and end of life are written when the run ends.
-- Every step pays for what is called and passed here, a tenth of its time in Redis for each call: hence one
-- HGET, one XACK and one XDEL for all, trimming and TIME once a call, one queue and one out for all.
local try, call = redis.pcall, redis.call
local q, out, count = KEYS[1], KEYS[2], #KEYS - 2
local me, cap, ttl, write = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local answers, acks, dels, ours, ends, trimmed = {}, {'XACK', q, 'w'}, {'XDEL', q}, {}, {}, false
if not ttl then return redis.error_reply('ERR ttl is not a number') end

-- Entry ids compare like this while their parts are of one length; a wrong order only makes the range miss.
local function before(a, b) return #a < #b or (#a == #b and a < b) end
if count > 1 then
  local first, last = ARGV[5], ARGV[5]
  for a = 10, #ARGV, 5 do
    local id = ARGV[a]
    if before(id, first) then first = id elseif before(last, id) then last = id end
  end
  local range = try('XPENDING', q, 'w', first, last, count * 2, me)
  if not range.err then
    for _, entry in ipairs(range) do ours[entry[1]] = true end
  end
end

for i = 1, count do
  local id, mark = ARGV[i * 5], ARGV[i * 5 + 1]
  local pending = not ours[id] and try('XPENDING', q, 'w', id, id, 1, me)
  if pending and pending.err and pending.err:sub(1, 7) ~= 'NOGROUP' then
    answers[i] = pending.err
  elseif pending and not pending[1] then
    answers[i] = 2
  elseif not mark:find('^%d+:') then
    answers[i] = 'ERR seq is not a number'
  else
    acks[#acks + 1] = id
  end
end
if acks[4] then call(unpack(acks)) end

for i = 1, count do
  local run, a = KEYS[i + 2], i * 5
  local id, mark, result, next_j, state = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local last = try('HGET', run, 'c0')
  local failed, cancelled = last and last.err, false
  if last and not failed and last:sub(1, 1) == 'x' then
    cancelled, last = next_j ~= '', last:sub(2)
  end
  if answers[i] then
    -- a repeat whose first answer got lost sees its own nonce; anything else has lost the lease
    if answers[i] == 2 then answers[i] = failed or (last == mark and 1 or 2) end
  elseif last and not failed and (tonumber(last:match('^%d+')) or -1) >= tonumber(mark:match('^%d+')) then
    dels[#dels + 1] = id
    answers[i] = last == mark and 1 or 3
  else
    local life, out_id = ttl, nil
    if not failed and write then
      if trimmed then
        out_id = try('XADD', out, '*', 'r', result)
      else
        out_id = try('XADD', out, 'MAXLEN', '~', cap, '*', 'r', result)
        trimmed = true
      end
      failed = out_id.err
    end
    if failed then
      -- put back below
    elseif cancelled then
      local left = try('HMGET', run, 'cn', 'cr')
      -- who may write to the record may have written anything: an error here would lose what is acknowledged above
      local asked = tonumber(left[1])
      state, life, result = 'cancelled', asked and asked > 0 and asked < 1e12 and math.ceil(asked) or life, left[2] or result
      if out_id then failed = try('XADD', out, '*', 'r', result).err end
    elseif next_j ~= '' then
      failed = try('XADD', q, '*', 'j', next_j, 's', state).err
    end
    if failed then
      if out_id and not out_id.err then try('XDEL', out, out_id) end
      try('XCLAIM', q, 'w', me, 0, id, 'FORCE', 'JUSTID')
      answers[i] = failed
    else
      if next_j ~= '' and not cancelled then
        try('HSET', run, 'c0', mark, 'st', 'ready')
      else
        if not ends[life] then
          local t = call('TIME')
          ends[life] = string.format('%d', t[1] * 1000 + life)
        end
        try('HSET', run, 'c0', mark, 'st', state, 'r', result)
        try('PEXPIREAT', run, ends[life])
      end
      dels[#dels + 1] = id
      answers[i] = cancelled and 4 or 1
    end
  end
end
if dels[3] then call(unpack(dels)) end
return answers
