-- Lets buyers of one sale in, in the order in which they came and at most so many a second.
-- KEYS: 1 sale:{uid}:room    hash: issued (numbers given out), called and free (see below), at (Unix us), rate
--       2 sale:{uid}:places  hash: buyer -> number, or 'in' once he was let in
-- ARGV: buyers a second, opening and close in Unix ms, ms that places are kept after the close, the most that wait,
--       then the buyers. Who gets no place because too many wait is told when he would have one.
-- Answers three numbers a buyer: 0 was in, 1 let in now, 2 waits; his position in the queue; us until his turn.
--
-- called: numbers up to this one may go in; it grows with the rate, and while nobody waits it stays one ahead of the
-- newest. free: how many may go in now, at most those of one second; it binds those who were called and came late, so
-- that the end of a pause is no rush. Both count millionths.

local MILLION = 1000000
local rate, open_us, close_ms = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * MILLION + time[2]
local room = redis.call('HMGET', KEYS[1], 'issued', 'called', 'free', 'at', 'rate')
local issued = tonumber(room[1] or 0)
local waited_us = math.max(0, now - math.max(tonumber(room[4] or now), open_us))
local grown = waited_us * tonumber(room[5] or rate)
local called = math.min((issued + 1) * MILLION, tonumber(room[2] or MILLION) + grown)
local free = math.min(rate * MILLION, tonumber(room[3] or MILLION) + grown)
local until_open = math.max(0, open_us - now)

local buyers = {}
for index = 6, #ARGV do
  buyers[index - 5] = ARGV[index]
end
local places = redis.call('HMGET', KEYS[2], unpack(buyers))
local in_batch, changed, answers = {}, {}, {}

local function answer(kind, position, wait_us)
  answers[#answers + 1] = kind
  answers[#answers + 1] = position
  answers[#answers + 1] = math.ceil(wait_us)
end

for index, buyer in ipairs(buyers) do
  local place = in_batch[buyer] or places[index]
  if not place then
    place = issued + 1
    if place * MILLION - called <= tonumber(ARGV[5]) * MILLION then
      issued = place
      in_batch[buyer] = place
    end
  end
  if place == 'in' then
    answer(0, 0, 0)
  else
    local ahead = tonumber(place) * MILLION - called
    local wait_us = until_open + math.max(0, ahead, MILLION - free) / rate
    if wait_us == 0 then
      free = free - MILLION
      in_batch[buyer] = 'in'
      answer(1, 0, 0)
    else
      answer(2, math.max(1, math.ceil(ahead / MILLION)), wait_us)
    end
  end
end

for buyer, place in pairs(in_batch) do
  changed[#changed + 1] = buyer
  changed[#changed + 1] = place
end
redis.call('HSET', KEYS[1], 'issued', issued, 'called', called, 'free', free, 'at', now, 'rate', rate)
if #changed > 0 then
  redis.call('HSET', KEYS[2], unpack(changed))
end
for index = 1, 2 do
  redis.call('PEXPIREAT', KEYS[index], close_ms + tonumber(ARGV[4]))
end
return answers
