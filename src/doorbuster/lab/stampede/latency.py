"""The one typed door to hdrhistogram: durations in seconds go in, milliseconds come out."""

from __future__ import annotations

from typing import Protocol, cast

from hdrh import histogram

LEAST_US, MOST_US, DIGITS = 1, 3_600_000_000, 3  # 1 µs to 1 h, three significant digits


class _Histogram(Protocol):
    def record_value(self, value: int) -> bool: ...
    def get_percentile_to_value_dict(self, percentiles: list[float]) -> dict[float, int]: ...
    def get_max_value(self) -> int: ...
    def get_total_count(self) -> int: ...


class Latency:
    """A histogram of durations. Recording costs about 1 µs, reading percentiles about 1 ms."""

    def __init__(self) -> None:
        # The library has no annotations; this cast is the typed place.
        self._histogram = cast("_Histogram", histogram.HdrHistogram(LEAST_US, MOST_US, DIGITS))

    def record(self, seconds: float) -> None:
        """Counts one duration; out of range is moved to the nearest bound, never dropped."""
        self._histogram.record_value(min(MOST_US, max(LEAST_US, int(seconds * 1e6))))

    def percentiles_ms(self, *percentiles: float) -> tuple[float, ...]:
        """Values in ms at the percentiles (50.0, 99.9, ...); all 0.0 while nothing is recorded."""
        if not self.count:
            return tuple(0.0 for _ in percentiles)
        found = self._histogram.get_percentile_to_value_dict(list(percentiles))
        return tuple(found[p] / 1000 for p in percentiles)

    @property
    def max_ms(self) -> float:
        """The greatest duration in ms, 0.0 while nothing is recorded."""
        return self._histogram.get_max_value() / 1000 if self.count else 0.0

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return self._histogram.get_total_count()
