"""Rate limits in Redis: token buckets that all copies of the gateway share, asked in batches.

A bucket is one number, the time at which it will be full again (the generic cell rate algorithm): a request
moves it by one token's time and is refused when that would be further away than a whole bucket takes. The keys
share one hash slot, so that a batch is one script anywhere. Redis away: the door stays open, and it is counted.
"""

import functools
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from doorbuster.kit.coalescer import Coalescer, QueueFullError
from doorbuster.kit.redis import AWAY

from .domain import Admission, Charge, Rate

MAX_BATCH = 256
MAX_QUEUE = 10_000
PAUSE_AFTER_FAILURE_SECONDS = 1.0
MAX_REMEMBERED = 50_000
_PREFIX = "{rate}:"
_ANSWERS_PER_ITEM = 5
# A Redis that is full, read-only or cannot save refuses to count: that is no better than none.
_USELESS: tuple[type[Exception], ...] = (*AWAY, RedisError)
_UNASKABLE: tuple[type[Exception], ...] = (*_USELESS, QueueFullError)
UNCHECKED = Counter(
    "doorbuster_gateway_unchecked", "Requests let in because the rate limits could not be asked"
)

_ENCODER = msgspec.msgpack.Encoder()

# KEYS: all buckets of all items. ARGV[1]: for each item, for each of its buckets, the time of one token and the
# time of a whole bucket, in microseconds. Answers per item: the number of the bucket that refuses (0: none) and
# its wait; the number, the tokens left and the time until full of the tightest one.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local answers, key = {}, 0
for _, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  local full_at, refused, wait, tight, left, reset = {}, 0, 0, 1, math.huge, 0
  for bucket, times in ipairs(item) do
    local token, whole = times[1], times[2]
    local was = tonumber(redis.call('GET', KEYS[key + bucket]) or 0)
    local next_full = math.max(was, now) + token
    full_at[bucket] = next_full
    local over = next_full - now - whole
    if over > 0 then
      if over > wait then refused, wait = bucket, over end
      next_full = math.max(was, now)
    end
    local remaining = math.max(0, math.floor((whole - (next_full - now)) / token))
    if remaining < left then tight, left, reset = bucket, remaining, next_full - now end
  end
  if refused == 0 then
    for bucket, at in ipairs(full_at) do
      local millis = math.ceil((at - now) / 1000)
      redis.call('SET', KEYS[key + bucket], string.format('%.0f', at), 'PX', millis)
    end
  end
  key = key + #item
  for _, value in ipairs({refused, math.ceil(wait), tight, left, math.ceil(reset)}) do
    answers[#answers + 1] = value
  end
end
return answers
"""

_Item = tuple[Charge, ...]


class RedisBuckets:
    """Token buckets; :meth:`close` when done.

    A refused bucket is remembered here until it may have a token again, so that a client who hammers costs no
    round trip.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(_TAKE)
        self._coalescer: Coalescer[_Item, Admission] = Coalescer(
            self._run, max_batch=MAX_BATCH, max_in_flight=2, max_queue=MAX_QUEUE
        )
        self._refused: dict[str, tuple[float, Admission]] = {}
        self._paused_until = float("-inf")

    async def take(self, charges: Sequence[Charge]) -> Admission | None:
        """Take one token from each bucket, or none from any; None when the buckets cannot be asked."""
        now = time.monotonic()
        remembered = self._remembered(charges, now)
        if remembered is not None:
            return remembered
        if now < self._paused_until:
            UNCHECKED.inc()
            return None
        try:
            admission = await self._coalescer.submit(tuple(charges))
        except _UNASKABLE:
            UNCHECKED.inc()
            return None
        if not admission.allowed:
            self._remember(charges, admission)
        return admission

    def _remembered(self, charges: Sequence[Charge], now: float) -> Admission | None:
        for charge in charges:
            until, admission = self._refused.get(charge.key, (0.0, None))
            if admission is None:
                continue
            if until > now:
                left = until - now
                return Admission(
                    allowed=False,
                    kind=admission.kind,
                    limit=admission.limit,
                    remaining=0,
                    reset_seconds=max(left, admission.reset_seconds),
                    retry_after_seconds=left,
                )
            del self._refused[charge.key]
        return None

    def _remember(self, charges: Sequence[Charge], admission: Admission) -> None:
        if len(self._refused) >= MAX_REMEMBERED:
            self._refused.clear()
        key = next(charge.key for charge in charges if charge.kind == admission.kind)
        until = time.monotonic() + admission.retry_after_seconds
        self._refused[key] = (until, admission)

    async def _run(self, items: list[_Item]) -> list[Admission | Exception]:
        keys = [_PREFIX + charge.key for item in items for charge in item]
        times = _ENCODER.encode([[_times(charge.rate) for charge in item] for item in items])
        try:
            flat: list[Any] = await self._script(keys=keys, args=[times])
        except _USELESS:
            self._paused_until = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
            raise
        return [
            _admission(item, flat[start : start + _ANSWERS_PER_ITEM])
            for item, start in zip(items, range(0, len(flat), _ANSWERS_PER_ITEM), strict=True)
        ]

    async def close(self) -> None:
        """Let the batches under way finish."""
        await self._coalescer.close()


@functools.cache  # there are four rates in a process
def _times(rate: Rate) -> tuple[int, int]:
    token = max(1, round(1_000_000 / rate.per_second))
    return token, token * rate.burst


def _admission(item: _Item, answer: Sequence[int]) -> Admission:
    refused, wait, tight, left, reset = answer
    charge = item[(refused or tight) - 1]
    return Admission(
        allowed=refused == 0,
        kind=charge.kind,
        limit=charge.rate.burst,
        remaining=0 if refused else left,
        reset_seconds=reset / 1_000_000,
        retry_after_seconds=wait / 1_000_000,
    )
