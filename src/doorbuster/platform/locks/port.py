"""The port: named locks with a lease, of one owner at a time, each with a rising fencing token.

A lock is advice. Its owner may be stopped for longer than the lease and go on without knowing; so whatever the lock
protects takes the token and refuses a lower one than it has seen, in the statement that writes:

    UPDATE shelves SET units = :units, fence = :token WHERE id = :id AND fence <= :token
"""

from __future__ import annotations

from typing import Protocol

LEASE_MS = 5_000


class Locks(Protocol):
    @property
    def lease_ms(self) -> int: ...

    async def take(self, name: str, owner: str, lease_ms: int | None = None) -> int:
        """The fencing token, higher than any before; 0: it is somebody's, be it this owner's.

        Raises Unavailable, Overloaded: if it was taken all the same, its lease frees it.
        """
        ...

    async def renew(self, name: str, owner: str, lease_ms: int | None = None) -> bool:
        """The lease begins again. False: it was not the owner's any more. Raises Unavailable."""
        ...

    async def release(self, name: str, owner: str) -> bool:
        """False: it was not the owner's any more, and nothing is done. Raises Unavailable."""
        ...


def certain_ms(lease_ms: int) -> float:
    """How long an owner may be sure, from before they asked: clocks of two machines may run 1 % apart."""
    return lease_ms * 0.99 - 2
