"""Token bucket: a level of used units that drains at `limit` per period; what does not fit below `burst` is refused.

In any stretch of time t at most burst + t · limit / period units are admitted.

State: level, when that was, and at how many units per microsecond it has been draining since. A changed rate begins at
the key's next question; a changed burst counts at once, against the same level.
"""

from __future__ import annotations

import math
from typing import ClassVar

from doorbuster.platform.limits.algorithms.port import PER_S, SPARE, State
from doorbuster.platform.limits.port import Decision
from doorbuster.platform.limits.settings import LimitSettings


class TokenBucket:
    lua: ClassVar[str] = """
local level, at, rate = 0, now, 0
if value then
  local a, b, c = string.match(value, '^(%S+) (%S+) (%S+)$')
  level, at, rate = tonumber(a), tonumber(b), tonumber(c)
end
if now > at then level = math.max(0, level - (now - at) * rate) end
rate = limit / period
local capacity = burst > 0 and burst or limit
local allowed, retry = 0, 0
if level + cost <= capacity + 1e-9 then
  allowed, level = 1, level + cost
else
  retry = math.ceil((level + cost - capacity) / rate)
end
idle = now + level / rate
if level > 0 then kept = string.format('%.17g %.17g %.17g', level, now, rate) end
return {allowed, math.max(0, math.floor(capacity - level + 1e-9)), math.ceil(level / rate), retry, 0}
"""

    def quota(self, settings: LimitSettings) -> int:
        return settings.capacity

    def window_us(self, settings: LimitSettings) -> float:
        return settings.capacity * settings.period_us / settings.limit

    def fresh(self) -> State:
        return [0.0, 0, 0.0]

    def take(self, state: State, now_us: int, settings: LimitSettings, cost: int) -> Decision:
        level, at_us, rate = state
        if now_us > at_us:
            level -= (now_us - at_us) * rate
            if level < 0:
                level = 0.0
        rate = settings.limit / round(settings.period_s * PER_S)
        capacity = settings.burst or settings.limit
        allowed, retry_s = level + cost <= capacity + SPARE, 0.0
        if allowed:
            level += cost
        else:
            retry_s = math.ceil((level + cost - capacity) / rate) / PER_S
        state[0], state[1], state[2] = level, now_us, rate
        left = int(capacity - level + SPARE)
        return Decision(allowed, capacity, max(0, left), math.ceil(level / rate) / PER_S, retry_s)

    def give_back(self, state: State, _settings: LimitSettings, cost: int, _taken_us: int) -> None:
        state[0] = max(0.0, state[0] - cost)

    def agree(self, state: State, _now_us: int, _reset_us: float) -> None:
        """Its times are those of its own units."""

    def idle_us(self, state: State) -> float:
        level, at_us, rate = state
        return at_us + level / rate if level else at_us
