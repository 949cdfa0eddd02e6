"""Which master has which of a cluster's slots: what it has told us last, and what single answers told us since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot

from doorbuster.platform.redis.address import host_of, named

SLOTS = 16_384
NODES_MAX = 1_000
"""As many as a cluster is meant to have."""


class Slots:
    def __init__(self) -> None:
        self._owners = [""] * SLOTS
        self.places: Sequence[str] = ()
        """The masters that have slots."""

    def owner(self, key: str) -> str:
        """ "" if nobody is known."""
        return self._owners[slot_of(key)]

    def moved(self, slot: int, place: str) -> None:
        self._owners[slot] = place

    def learn(self, shares: Any, told_by: str) -> None:
        """`shares` is the answer to CLUSTER SLOTS: first slot, last slot, the master's host and port, replicas."""
        owners = [""] * SLOTS
        for first, last, master, *_replicas in shares:
            # A node that does not know its own name means the address that it was asked at.
            place = named(str(master[0] or host_of(told_by)), int(master[1]))
            owners[first : last + 1] = [place] * (last + 1 - first)
        self._owners = owners
        self.places = sorted({place for place in owners if place})[:NODES_MAX]


def slot_of(key: str) -> int:
    return key_slot(key.encode())
