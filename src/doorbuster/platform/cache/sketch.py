"""How often keys were asked for lately, in a few bytes each, whatever their number (count-min, Cormode and
Muthukrishnan 2005; ageing by halving as in TinyLFU, Einziger et al. 2017)."""

from __future__ import annotations

from collections.abc import Hashable

COUNT_MAX = 15
"""Higher counts tell nothing that admission needs."""
SAMPLE = 10
"""After so many additions for each key of the capacity all counts are halved."""
_HALVED = bytes(count >> 1 for count in range(256))
_MASK_64 = (1 << 64) - 1
_SEEDS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)


class FrequencySketch:
    """Never too low between two halvings, seldom too high: four rows, the least of them counts."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: how many keys are to be told apart. Takes 8 to 16 bytes for each."""
        width = 1 << max(4, (2 * capacity - 1).bit_length())
        self._shift = 64 - (width.bit_length() - 1)
        self._rows = [bytearray(width) for _ in _SEEDS]
        self._added = 0
        self._sample = SAMPLE * capacity

    def add(self, key: Hashable) -> int:
        """Counts the key once more. Returns its count, at most COUNT_MAX."""
        mixed = hash(key) & _MASK_64
        least, places = COUNT_MAX, list[tuple[bytearray, int]]()
        for row, seed in zip(self._rows, _SEEDS, strict=True):
            at = ((mixed * seed) & _MASK_64) >> self._shift
            places.append((row, at))
            least = min(least, row[at])
        if least < COUNT_MAX:
            for row, at in places:
                if row[at] == least:  # the others hold somebody else's counts too
                    row[at] = least + 1
            least += 1
        self._added += 1
        if self._added >= self._sample:
            self.age()
        return least

    def count(self, key: Hashable) -> int:
        mixed = hash(key) & _MASK_64
        rows = zip(self._rows, _SEEDS, strict=True)
        return min(row[((mixed * seed) & _MASK_64) >> self._shift] for row, seed in rows)

    def age(self) -> None:
        """Halves all counts, so that what was hot yesterday makes room."""
        self._rows = [row.translate(_HALVED) for row in self._rows]
        self._added //= 2
