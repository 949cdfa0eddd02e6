"""Asking a provider over HTTP: a lost answer is asked for again, a bounded number of times and within one deadline for
all tries. Only what may be repeated is asked here: everything carries an id of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec

from doorbuster.contexts.payments.http_client import AnswerTooLong, HttpClient, NoAnswer
from doorbuster.kernel.errors import Unavailable

TRIES_MAX = 4
FIRST_PAUSE_S = 0.05
"""Before the second try; doubled before each further one (0.35 s in all)."""

REFUSALS = frozenset({400, 402, 409, 422})
"""The provider has read the request and says no. Other 4xx mean that we do not talk to it properly (a wrong
address, a missing right): that may be mended, so nothing is given up for it."""

T = TypeVar("T")
Busy = Callable[[int, bytes], bool]


class Asker:
    """One provider's address. Its connections are made in the loop that first uses it."""

    def __init__(self, base_url: str, timeout_s: float, first_pause_s: float, busy: Busy | None = None) -> None:
        """`busy` knows answers below 500, beyond 429, that mean "later"."""
        self._client = HttpClient(base_url)
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._busy = busy

    async def ask(self, method: str, target: str, headers: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status (below 500) and content of an answer. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._until_answered(method, target, headers, body)
        except TimeoutError as error:
            raise Unavailable("the payment provider did not answer in time") from error
        except AnswerTooLong as error:
            raise Unavailable("the payment provider's answer is too long") from error

    async def close(self) -> None:
        await self._client.close()

    async def _until_answered(self, method: str, target: str, headers: str, body: bytes | None) -> tuple[int, bytes]:
        failure: Exception | None = None
        for attempt in range(TRIES_MAX):
            if attempt:
                await asyncio.sleep(self._first_pause_s * 2 ** (attempt - 1))
            try:
                status, content = await self._client.request(method, target, headers, body)
            except NoAnswer as lost:
                failure = lost
                continue
            later = status >= 500 or status == 429 or (self._busy is not None and self._busy(status, content))
            if not later:
                return status, content
            failure = None
        raise Unavailable("the payment provider is not available") from failure


def understood(content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises Unavailable."""
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is a DecodeError
        raise Unavailable("the payment provider's answer cannot be understood") from error
