"""Argon2id in a bounded pool of threads: hashing never takes more than its share of cores and memory."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import argon2
from argon2.profiles import RFC_9106_LOW_MEMORY

from doorbuster.kernel.errors import Overloaded

T = TypeVar("T")

WAITING_PER_THREAD = 16
"""At some 0.1 s a hash (64 MiB, three passes; a shared core) the last in the queue waits for less than 2 s."""


class PasswordHasher:
    """Hashes and verifies, `at_once` at the same time.

    Whoever wants to hash takes a place first; when all are taken (at work or waiting) the next gets Overloaded
    at once. `cost` is for tests; the default is the profile for low memory of RFC 9106, section 4.
    """

    def __init__(self, at_once: int, cost: argon2.Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._argon2 = argon2.PasswordHasher.from_parameters(cost)
        self._threads = ThreadPoolExecutor(at_once, "password-hashing")
        self._places_max = at_once * (1 + WAITING_PER_THREAD)
        self._places_taken = 0
        self._decoy = _decoy(cost)

    @contextmanager
    def place(self) -> Generator[None]:
        """Raises Overloaded. Must be held around `hash` and `matches`; taken on the event loop only."""
        if self._places_taken >= self._places_max:
            raise Overloaded("too many passwords are waiting to be checked", retry_after_s=2)
        self._places_taken += 1
        try:
            yield
        finally:
            self._places_taken -= 1

    async def hash(self, password: str) -> str:
        return await self._in_thread(lambda: self._argon2.hash(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is that of the hash. Without a hash it never is, after the same work."""
        return await self._in_thread(lambda: self._verify(password_hash or self._decoy, password))

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made at another cost than today's."""
        return self._argon2.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except argon2.exceptions.VerifyMismatchError:
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _decoy(cost: argon2.Parameters) -> str:
    """A hash of today's cost that no password has: its digest is random."""
    salt, digest = (
        b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (cost.salt_len, cost.hash_len)
    )
    return f"$argon2id$v={cost.version}$m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}${salt}${digest}"
