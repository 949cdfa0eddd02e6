"""Snowflake ids: 63 bits that sort by time and carry the shard.

    41 bits  milliseconds since EPOCH_MS (enough until 2095)
     5 bits  logical shard of the owner (32 shards)
     7 bits  worker number, leased per process (128 workers)
    10 bits  sequence within the millisecond

In JSON an id is a decimal string: JavaScript's numbers end at 2^53.
"""

from __future__ import annotations

from threading import Lock

from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Invalid, Unavailable

EPOCH_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

SHARD_BITS, WORKER_BITS, SEQUENCE_BITS = 5, 7, 10
SHARDS, WORKERS, SEQUENCES = 1 << SHARD_BITS, 1 << WORKER_BITS, 1 << SEQUENCE_BITS
_TIME_SHIFT = SHARD_BITS + WORKER_BITS + SEQUENCE_BITS
_SHARD_SHIFT = WORKER_BITS + SEQUENCE_BITS
ID_MAX = (1 << 63) - 1
_NEVER = 1 << 63


class InvalidId(Invalid):
    slug = "invalid-id"
    title = "Not an id"


class Snowflake:
    """Makes unique, rising ids for one worker number.

    The generator keeps its own logical time, which never moves backwards: when the clock steps back, or more
    than 1024 ids are asked for within a millisecond, it goes on from the last millisecond it used. `floor_ms`
    carries that across a restart (the lease of the worker number stores it).
    """

    def __init__(self, clock: Clock, worker: int, floor_ms: int = 0) -> None:
        if not 0 <= worker < WORKERS:
            raise ValueError(f"worker number must be in 0..{WORKERS - 1}: {worker}")
        self._clock = clock
        self._worker_bits = worker << SEQUENCE_BITS
        self._last_ms = max(floor_ms, EPOCH_MS)
        self._sequence = -1
        self._owners = worker
        self._ends_ms = _NEVER
        self._lock = Lock()

    @property
    def last_ms(self) -> int:
        """The latest logical millisecond used: a later generator of the same worker must start above it."""
        return self._last_ms

    def use_until(self, end_ms: int) -> None:
        """No id is made when the clock has come to `end_ms`: by then another process may have the worker number."""
        self._ends_ms = end_ms

    def next(self, owner: int = 0) -> int:
        """A new id, on the shard of `owner` (an id whose own shard is inherited, or 0). Raises Unavailable."""
        return self._make(shard_of(owner))

    def next_owner(self) -> int:
        """A new id for somebody whom a shard is chosen for: the shards in turn. Raises Unavailable."""
        self._owners += 1
        return self._make(self._owners % SHARDS)

    def _make(self, shard: int) -> int:
        now_ms = self._clock.now_ms()
        if now_ms >= self._ends_ms:
            raise Unavailable("this process may have lost its worker number")
        with self._lock:  # the databases' threads make ids too
            if now_ms > self._last_ms:
                self._last_ms, self._sequence = now_ms, 0
            elif self._sequence + 1 < SEQUENCES:
                self._sequence += 1
            else:
                self._last_ms, self._sequence = self._last_ms + 1, 0
            time_bits = (self._last_ms - EPOCH_MS) << _TIME_SHIFT
            return time_bits | shard << _SHARD_SHIFT | self._worker_bits | self._sequence


def shard_of(owner: int) -> int:
    """The logical shard (0..31) of a customer or of anything of theirs.

    An order's id is made with its customer as owner: all that belongs to a customer meets on one shard, and the
    order's id alone tells which.
    """
    return owner >> _SHARD_SHIFT & (SHARDS - 1)


def instant_of(snowflake: int) -> int:
    """When the id was made, in milliseconds since the Unix epoch."""
    return (snowflake >> _TIME_SHIFT) + EPOCH_MS


def parse_id(text: str) -> int:
    """The number behind an id in a URL or a JSON string. Raises InvalidId."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= ID_MAX):
        raise InvalidId(f"not an id: {text[:40]!r}")
    return int(text)
