"""Sliding window: never more than `limit` units in any stretch of `period_s`.

Units are counted in slots of a tenth of the period. A slot counts in full until its last possible unit is a period old,
so the bound is exact, and the error is on the strict side: a unit comes free at most a tenth of a period late. A log of
every unit would be exact on both sides and cost memory by the unit; the usual two counters admit up to twice the limit
(see docs/decisions/0020).

State: the period that the key knows, then end and count of each slot, oldest first. After a change, what was still
counted by the old period and lies within the new one goes on counting.
"""

from __future__ import annotations

from typing import ClassVar

from doorbuster.platform.limits.algorithms.port import PER_S, State
from doorbuster.platform.limits.port import Decision
from doorbuster.platform.limits.settings import LimitSettings

SLOTS = 10


class SlidingWindow:
    lua: ClassVar[str] = """
local slot = math.ceil(period / 10)
local ends, counts, total = {}, {}, 0
if value then
  local numbers = {}
  for word in string.gmatch(value, '%S+') do numbers[#numbers + 1] = tonumber(word) end
  local shorter = math.min(numbers[1], period)
  for i = 2, #numbers, 2 do
    local stop = math.min(numbers[i], now + slot)
    if stop + shorter > now then
      ends[#ends + 1], counts[#counts + 1] = stop, numbers[i + 1]
      total = total + numbers[i + 1]
    end
  end
end
local allowed, retry = 0, 0
if total + cost <= limit then
  allowed, total = 1, total + cost
  if #ends > 0 and ends[#ends] > now then
    counts[#ends] = counts[#ends] + cost
  else
    ends[#ends + 1], counts[#counts + 1] = now + slot, cost
  end
else
  local excess, i = total + cost - limit, 1
  retry = period
  while i <= #ends and excess > 0 do
    excess = excess - counts[i]
    retry = ends[i] + period - now
    i = i + 1
  end
end
local reset = 0
if #ends > 0 then
  reset = ends[#ends] + period - now
  local words = {string.format('%.17g', period)}
  for i = 1, #ends do words[#words + 1] = string.format('%.17g %d', ends[i], counts[i]) end
  kept = table.concat(words, ' ')
end
idle = now + reset
return {allowed, math.max(0, limit - total), reset, retry, 0}
"""

    def quota(self, settings: LimitSettings) -> int:
        return settings.limit

    def window_us(self, settings: LimitSettings) -> float:
        return settings.period_us

    def fresh(self) -> State:
        return [0]

    def take(self, state: State, now_us: int, settings: LimitSettings, cost: int) -> Decision:
        period_us = round(settings.period_s * PER_S)
        slot_us = -(-period_us // SLOTS)
        shorter_us = min(state[0], period_us)
        state[0] = period_us
        if len(state) > 1 and (state[1] + shorter_us <= now_us or state[-2] > now_us + slot_us):
            _forget(state, now_us, shorter_us, slot_us)
        total = int(sum(state[2::2]))
        allowed, retry_us = total + cost <= settings.limit, 0.0
        if not allowed:
            retry_us = _until_free(state, total + cost - settings.limit, now_us)
        elif len(state) > 1 and state[-2] > now_us:
            state[-1] += cost
        else:
            state += (now_us + slot_us, cost)
        if allowed:
            total += cost
        reset_us = state[-2] + period_us - now_us if len(state) > 1 else 0
        return Decision(allowed, settings.limit, max(0, settings.limit - total), reset_us / PER_S, retry_us / PER_S)

    def give_back(self, state: State, _settings: LimitSettings, cost: int, taken_us: int) -> None:
        slot_us = -(-state[0] // SLOTS)
        for at in range(len(state) - 2, 0, -2):
            if state[at] - slot_us <= taken_us and state[at + 1] >= cost:
                state[at + 1] -= cost
                return

    def agree(self, state: State, _now_us: int, _reset_us: float) -> None:
        """Its slots are those of its own units, and end within a tenth of a period of the shared ones."""

    def idle_us(self, state: State) -> float:
        return state[-2] + state[0] if len(state) > 1 else 0


def _forget(state: State, now_us: int, shorter_us: float, slot_us: float) -> None:
    """Slots that have passed; and a slot ends within the length of one, also after that was shortened."""
    kept: State = [state[0]]
    for at in range(1, len(state), 2):
        end_us = min(state[at], now_us + slot_us)
        if end_us + shorter_us > now_us:
            kept += (end_us, state[at + 1])
    state[:] = kept


def _until_free(state: State, excess: float, now_us: int) -> float:
    retry_us = state[0]
    for at in range(1, len(state), 2):
        if excess <= 0:
            break
        excess -= state[at + 1]
        retry_us = state[at] + state[0] - now_us
    return retry_us
