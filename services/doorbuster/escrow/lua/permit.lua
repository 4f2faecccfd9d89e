-- Takes permits for a batch of orders of one product.
-- ARGV: milliseconds until an unsettled permit is looked at, then order, user, quantity per item.
-- Answers {epoch, opening in ms, one letter per item}; an item that asked before gets its answer again.
-- G granted, O out, U user limit, N not open, C closed, S suspended, K cold.

local count = (#ARGV - 1) / 3
local st = redis.call('HMGET', KEYS[1],
  'a', 'e', 's', 'u', 'open_ms', 'close_ms', 'state', 'limit')
if not (st[1] and st[2]) then
  return { 0, 0, string.rep('K', count) }
end
local permits, epoch, sequence, unsettled =
  tonumber(st[1]), tonumber(st[2]), tonumber(st[3]), tonumber(st[4])
local open_ms, close_ms, limit = tonumber(st[5]), tonumber(st[6]), tonumber(st[8])
local now = now_millis()
local deadline = now + tonumber(ARGV[1])

local shut = nil
if st[7] == 'Cancelled' or now >= close_ms then
  shut = 'C'
elseif st[7] == 'Suspended' then
  shut = 'S'
elseif now < open_ms then
  shut = 'N'
end

local orders, users = {}, {}
for index = 1, count do
  orders[index] = ARGV[3 * index - 1]
  users[index] = ARGV[3 * index]
end
local known = redis.call('HMGET', KEYS[3], unpack(orders))
local counted, answers, in_batch, user_units = nil, {}, {}, {}
local entries, deadlines, touched = {}, {}, {}
local first = sequence == 0

for index = 1, count do
  local order, user, quantity = orders[index], users[index], tonumber(ARGV[3 * index + 1])
  local entry = read_entry(known[index])
  local replay = in_batch[order]
    or (entry and (entry.state ~= 'N' or entry.returned == '1'))
  if replay then
    answers[index] = 'G'
    if entry and entry.state == 'I' then
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = order
    end
  elseif shut then
    answers[index] = shut
  else
    counted = counted or redis.call('HMGET', KEYS[4], unpack(users))
    local units = (user_units[user] or tonumber(counted[index] or 0)) + quantity
    if units > limit then
      answers[index] = 'U'
    elseif quantity > permits then
      answers[index] = 'O'
    else
      permits = permits - quantity
      unsettled = unsettled + quantity
      sequence = sequence + 1
      user_units[user] = units
      in_batch[order] = true
      touched[user] = units
      entries[#entries + 1] = order
      entries[#entries + 1] = table.concat({ epoch, sequence, quantity, 'I', '0', user }, ':')
      deadlines[#deadlines + 1] = deadline
      deadlines[#deadlines + 1] = order
      answers[index] = 'G'
    end
  end
end

if #entries > 0 then
  redis.call('HSET', KEYS[1], 'a', permits, 's', sequence, 'u', unsettled)
  redis.call('HSET', KEYS[3], unpack(entries))
  for user, units in pairs(touched) do
    redis.call('HSET', KEYS[4], user, units)
  end
end
if #deadlines > 0 then
  redis.call('ZADD', KEYS[2], unpack(deadlines))
end
if first and #entries > 0 then
  for index = 2, 4 do
    redis.call('PEXPIREAT', KEYS[index], close_ms + 86400000)
  end
end
return { epoch, open_ms, table.concat(answers) }
