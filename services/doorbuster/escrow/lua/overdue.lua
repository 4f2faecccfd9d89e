-- Finds permits that are in flight past their deadline and forgets entries whose memory has ended.
-- ARGV: most entries to look at, milliseconds for which the caller alone looks after what it got.
-- Answers order, epoch, quantity per overdue permit, flat.

local now = now_millis()
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])
local overdue = {}
for _, order in ipairs(due) do
  local entry = read_entry(redis.call('HGET', KEYS[3], order))
  if entry and entry.state == 'I' then
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), order)
    overdue[#overdue + 1] = order
    overdue[#overdue + 1] = entry.epoch
    overdue[#overdue + 1] = entry.quantity
  else
    redis.call('ZREM', KEYS[2], order)
    if not (entry and entry.state == 'S' and entry.returned == '0') then
      redis.call('HDEL', KEYS[3], order)
    end
  end
end
return overdue
