"""Declared fallbacks, in their order."""

from __future__ import annotations

import pytest

from doorbuster.kernel.errors import NotFound, Unavailable
from doorbuster.platform.fallback import Degradable, FeatureOff
from platform_ticking import Ticking


class Part:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.reads = 0
        self.enabled = True
        self.time = Ticking()

    async def read(self) -> str:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return f"read {self.reads}"

    async def less(self) -> str:
        if self.error is not None and not isinstance(self.error, Unavailable):
            raise Unavailable
        return "less"

    def degradable(self, **fallbacks: object) -> Degradable[str]:
        return Degradable("part", self.read, self.time, enabled=lambda: self.enabled, **fallbacks)  # type: ignore[arg-type]


async def test_the_last_answer_stands_in_for_a_while_then_less_then_the_default():
    part = Part()
    found = part.degradable(cached_for_ms=100, reduced=part.less, default=lambda: "nothing")
    assert (await found.get()).how == "full"
    part.error = Unavailable()
    part.time.advance(100)
    assert ((await found.get()).value, (await found.get()).how) == ("read 1", "cached")
    part.time.advance(1)
    assert (await found.get()).how == "reduced"
    part.error = None
    assert ((await found.get()).value, (await found.get()).how) == ("read 5", "full")


async def test_without_a_fallback_the_error_is_raised():
    part = Part()
    part.error = Unavailable("gone")
    with pytest.raises(Unavailable, match="gone"):
        await part.degradable().get()
    assert (await part.degradable(default=lambda: "nothing").get()).value == "nothing"


async def test_what_is_switched_off_is_not_asked():
    part = Part()
    part.enabled = False
    with pytest.raises(FeatureOff):
        await part.degradable().get()
    assert (await part.degradable(default=lambda: "nothing").get()).how == "default"
    assert part.reads == 0


async def test_a_refusal_is_no_outage():
    part = Part()
    part.error = NotFound()
    with pytest.raises(NotFound):
        await part.degradable(cached_for_ms=100, default=lambda: "nothing").get()
