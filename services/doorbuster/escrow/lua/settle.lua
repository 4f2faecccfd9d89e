-- Ends permits in flight by what PostgreSQL says; only the flip away from I moves anything, so a repeat is harmless.
-- ARGV: milliseconds an ended entry is remembered, then order, epoch, fate per item.
-- Fates: K the units are reserved, R the permit goes back, P it was a phantom (nothing goes back),
--        G the reservation was made and released in this epoch (the return of its units is a give_back).
-- Answers how many entries flipped.

local st = redis.call('HMGET', KEYS[1], 'a', 'e', 'u')
if not (st[1] and st[2]) then
  return 0
end
local permits, epoch, unsettled = tonumber(st[1]), tonumber(st[2]), tonumber(st[3])
local forget = now_millis() + tonumber(ARGV[1])
local flipped = 0

for index = 2, #ARGV, 3 do
  local order, fate = ARGV[index], ARGV[index + 2]
  local entry = tonumber(ARGV[index + 1]) == epoch and read_entry(redis.call('HGET', KEYS[3], order))
  if entry and entry.epoch == epoch and entry.state == 'I' then
    flipped = flipped + 1
    unsettled = unsettled - entry.quantity
    -- G stays known: the order id asks again in vain, and must not take a permit that no return would bring back.
    entry.state = (fate == 'K' or fate == 'G') and 'S' or 'N'
    if fate == 'R' then
      permits = permits + entry.quantity
    end
    if fate == 'R' or fate == 'P' then
      uncount_user(entry)
    end
    write_entry(order, entry)
    if entry.state == 'S' and entry.returned == '0' then
      redis.call('ZREM', KEYS[2], order)
    else
      redis.call('ZADD', KEYS[2], forget, order)
    end
  end
end

if flipped > 0 then
  redis.call('HSET', KEYS[1], 'a', permits, 'u', unsettled)
end
return flipped
