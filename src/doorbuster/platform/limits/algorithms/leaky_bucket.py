"""Leaky bucket as a paced queue: one unit's turn every period / limit, at most `queue` waiting for theirs.

Whoever is allowed gets a place in time, `delay_s` from now, and begins then; who would stand behind a full queue is
refused. Two turns are never closer than period / limit (rounded up to a microsecond).

State: when the next place is free, and when that was written. Places given stay given. After a change newcomers stand
behind the last place given, at the new pace, and wait at most `queue` turns of the new pace; so right after a change
the old queue and the new one together may be waiting.
"""

from __future__ import annotations

from typing import ClassVar

from doorbuster.platform.limits.algorithms.port import PER_S, State
from doorbuster.platform.limits.port import Decision
from doorbuster.platform.limits.settings import LimitSettings


class LeakyBucket:
    lua: ClassVar[str] = """
local free, at = now, now
if value then
  local a, b = string.match(value, '^(%S+) (%S+)$')
  free, at = tonumber(a), tonumber(b)
  if now < at then free = free - (at - now) end
end
local pace = math.ceil(period / limit)
local ahead = math.max(free, now) - now
local over = ahead + (cost - 1) * pace - queue * pace
local allowed, retry, delay = 0, 0, 0
if over <= 0 then
  allowed, free, delay = 1, now + ahead + cost * pace, ahead
else
  retry = over
end
local left = math.max(free, now) - now
idle = math.max(free, now)
if left > 0 then kept = string.format('%.17g %.17g', free, now) end
return {allowed, math.max(0, queue + 1 - math.ceil(left / pace)), left, retry, delay}
"""

    def quota(self, settings: LimitSettings) -> int:
        return settings.queue + 1

    def window_us(self, settings: LimitSettings) -> float:
        return (settings.queue + 1) * _pace_us(settings)

    def fresh(self) -> State:
        return [0, 0]

    def take(self, state: State, now_us: int, settings: LimitSettings, cost: int) -> Decision:
        free_us, at_us = state[0], state[1]
        if now_us < at_us:  # a clock that was set back must not lengthen the queue
            free_us -= at_us - now_us
        pace_us = _pace_us(settings)
        ahead_us = max(free_us, now_us) - now_us
        over_us = ahead_us + (cost - 1) * pace_us - settings.queue * pace_us
        allowed = over_us <= 0
        if allowed:
            free_us = now_us + ahead_us + cost * pace_us
        state[0], state[1] = free_us, now_us
        left_us = max(free_us, now_us) - now_us
        remaining = settings.queue + 1 + int(-left_us // pace_us)
        delay_s, retry_s = (ahead_us / PER_S, 0.0) if allowed else (0.0, over_us / PER_S)
        return Decision(allowed, settings.queue + 1, max(0, remaining), left_us / PER_S, retry_s, delay_s)

    def give_back(self, state: State, settings: LimitSettings, cost: int, _taken_us: int) -> None:
        state[0] -= cost * _pace_us(settings)

    def agree(self, state: State, _now_us: int, _reset_us: float) -> None:
        """Its places are those of its own units."""

    def idle_us(self, state: State) -> float:
        return state[0]


def _pace_us(settings: LimitSettings) -> int:
    return -(-settings.period_us // settings.limit)
