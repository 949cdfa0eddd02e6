"""What a stampede is: how many, how fast, at which sale, how patient."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from .errors import BadPlanError
from .target import parse_target

_SALE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
CONNECTIONS_MAX = 4096


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A stampede, checked on construction (raises `BadUrlError`, `BadPlanError`).

    Arrivals are buyers pressing the button for the first time; double clicks and cheats come on top.
    Give `rate_per_s` or `duration_s`; with neither `arrivals` nor both of them, every buyer arrives once.
    More arrivals than buyers: the buyers come round again, with fresh keys.
    """

    base_url: str
    sale_id: str
    quantity: int = 1
    arrivals: int | None = None
    rate_per_s: float | None = None
    duration_s: float | None = None
    spacing: Literal["uniform", "poisson"] = "uniform"
    connections: int = 256
    waiting: int = 65_536  # requests queued for a connection; one more is an error "queue-full"
    timeout_s: float = 5.0  # from sending to the reply, and from the due time to sending
    seed: int = 1
    double_click_share: float = 0.2  # the same key again a few ms later on another connection
    cheat_share: float = 0.05  # the same buyer again with a second key

    def __post_init__(self) -> None:
        parse_target(self.base_url)
        if not _SALE_ID.fullmatch(self.sale_id):
            raise BadPlanError("sale_id", "must be 1 to 64 letters, digits, - or _")
        _within("quantity", self.quantity, 1, 1_000_000)
        _within("connections", self.connections, 1, CONNECTIONS_MAX)
        _within("waiting", self.waiting, 1, 10_000_000)
        _within("timeout_s", self.timeout_s, 0.01, 600)
        _within("double_click_share", self.double_click_share, 0, 1)
        _within("cheat_share", self.cheat_share, 0, 1)
        if self.arrivals is not None:
            _within("arrivals", self.arrivals, 1, 1_000_000_000)
        if self.rate_per_s is not None:
            _within("rate_per_s", self.rate_per_s, 0.001, 1_000_000)
        if self.duration_s is not None:
            _within("duration_s", self.duration_s, 0.001, 7 * 24 * 3600)
        self._check_pace()

    def _check_pace(self) -> None:
        given = (self.rate_per_s is not None) + (self.duration_s is not None)
        if given == 0:
            raise BadPlanError("rate_per_s", "give rate_per_s or duration_s")
        if given == 2 and self.arrivals is not None:
            raise BadPlanError("arrivals", "follows from rate_per_s and duration_s; give two of the three")

    def arrivals_of(self, buyers: int) -> int:
        """How many arrivals there will be with so many buyers."""
        if self.arrivals is not None:
            return self.arrivals
        if self.rate_per_s is not None and self.duration_s is not None:
            return max(1, round(self.rate_per_s * self.duration_s))
        return buyers

    def rate_of(self, buyers: int) -> float:
        """Arrivals per second with so many buyers."""
        if self.rate_per_s is not None:
            return self.rate_per_s
        return self.arrivals_of(buyers) / (self.duration_s or 1.0)  # one of the two is given


def _within(field: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise BadPlanError(field, f"{value} is not between {least} and {most}")
