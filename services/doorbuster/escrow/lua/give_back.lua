-- Brings released units back as permits, each order once in an epoch (the returned bit).
-- ARGV: milliseconds a returned entry is remembered, then order, epoch, quantity per item; the epoch is the one
-- that PostgreSQL had when it released. Answers one letter per item: A added, N nothing to do, R try again.
-- An entry still in flight stays in flight: its own settlement drops it.

local count = (#ARGV - 1) / 3
local st = redis.call('HMGET', KEYS[1], 'a', 'e')
if not (st[1] and st[2]) then
  return string.rep('R', count)
end
local permits, current = tonumber(st[1]), tonumber(st[2])
local forget = now_millis() + tonumber(ARGV[1])
local answers = {}

for index = 1, count do
  local order, epoch, quantity =
    ARGV[3 * index - 1], tonumber(ARGV[3 * index]), tonumber(ARGV[3 * index + 1])
  if epoch > current then
    answers[index] = 'R'
  elseif epoch < current then
    answers[index] = 'N'
  else
    local entry = read_entry(redis.call('HGET', KEYS[3], order))
    if entry and entry.epoch ~= current then
      entry = nil
    end
    if entry and entry.returned == '1' then
      answers[index] = 'N'
    else
      answers[index] = 'A'
      permits = permits + quantity
      if entry then
        uncount_user(entry)
      else
        entry = { epoch = current, sequence = 0, quantity = quantity, state = 'N', user = '' }
      end
      entry.returned = '1'
      write_entry(order, entry)
      if entry.state ~= 'I' then
        redis.call('ZADD', KEYS[2], forget, order)
      end
    end
  end
end

redis.call('HSET', KEYS[1], 'a', permits)
return table.concat(answers)
