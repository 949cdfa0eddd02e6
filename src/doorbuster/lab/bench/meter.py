"""Processor time of everybody who has a part in an order, told apart."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from doorbuster.lab.bench.processes import children_of, cpu_s_of, cpu_s_of_family, postmaster_of


class Meter(Struct, frozen=True):
    """Process ids. `postmaster` is None where PostgreSQL runs elsewhere: its time is not counted then."""

    door: int
    back_room: int
    provider: int
    postmaster: int | None

    def read(self) -> Mapping[str, float]:
        """Seconds so far, by who spent them. `client` is this process itself, without those it has started."""
        return {
            "door": cpu_s_of(self.door),
            "back_room": cpu_s_of(self.back_room),
            "provider": cpu_s_of(self.provider),
            "postgres": cpu_s_of_family(self.postmaster) or 0.0,
            "client": cpu_s_of(os.getpid()),
        }


async def meter_of(door: int, provider: int, database_url: str) -> Meter:
    """Of a running `doorbuster serve` with its back room beside it."""
    (back_room,) = children_of(door)
    return Meter(door, back_room, provider, await postmaster_of(database_url))


def spent_us(before: Mapping[str, float], after: Mapping[str, float], orders: int) -> dict[str, float]:
    """Microseconds per order."""
    return {name: (after[name] - before[name]) / max(1, orders) * 1e6 for name in before}
