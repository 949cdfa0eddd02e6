"""Fixed window: `limit` units from a key's first unit until `period_s` later; then the count starts again.

Windows begin with a key's first unit, not by the wall clock, so that not everybody's begins at the same moment. Around
the end of a window up to twice the limit fits into one period; a sliding window has no such edge.

State: begin, count, and the length that the key knows. A changed length counts from the begin of the running window; a
window that had ended by its own length has ended.
"""

from __future__ import annotations

from typing import ClassVar

from doorbuster.platform.limits.algorithms.port import PER_S, State
from doorbuster.platform.limits.port import Decision
from doorbuster.platform.limits.settings import LimitSettings


class FixedWindow:
    lua: ClassVar[str] = """
local begin, count, length = now, 0, period
if value then
  local a, b, c = string.match(value, '^(%S+) (%S+) (%S+)$')
  begin, count, length = math.min(tonumber(a), now), tonumber(b), tonumber(c)
end
if count == 0 or now >= begin + length or now >= begin + period then begin, count = now, 0 end
local allowed, reset, retry = 0, begin + period - now, 0
if count + cost <= limit then allowed, count = 1, count + cost else retry = reset end
idle = begin + period
if count > 0 then kept = string.format('%.17g %d %.17g', begin, count, period) end
return {allowed, math.max(0, limit - count), reset, retry, 0}
"""

    def quota(self, settings: LimitSettings) -> int:
        return settings.limit

    def window_us(self, settings: LimitSettings) -> float:
        return settings.period_us

    def fresh(self) -> State:
        return [0, 0, 0]

    def take(self, state: State, now_us: int, settings: LimitSettings, cost: int) -> Decision:
        begin_us, count, length_us = state
        begin_us = min(begin_us, now_us)  # a clock that was set back must not lengthen the window
        period_us = round(settings.period_s * PER_S)
        if not count or now_us >= begin_us + length_us or now_us >= begin_us + period_us:
            begin_us, count = now_us, 0
        reset_s = (begin_us + period_us - now_us) / PER_S
        allowed = count + cost <= settings.limit
        if allowed:
            count += cost
        state[0], state[1], state[2] = begin_us, count, period_us
        left = settings.limit - int(count)
        return Decision(allowed, settings.limit, max(0, left), reset_s, 0.0 if allowed else reset_s)

    def give_back(self, state: State, _settings: LimitSettings, cost: int, taken_us: int) -> None:
        if state[0] <= taken_us:
            state[1] = max(0, state[1] - cost)

    def agree(self, state: State, now_us: int, reset_us: float) -> None:
        """The shared window may have begun earlier, with somebody else's unit."""
        if state[1]:
            state[0] = min(state[0], now_us + reset_us - state[2])

    def idle_us(self, state: State) -> float:
        begin_us, count, length_us = state
        return begin_us + length_us if count else begin_us
