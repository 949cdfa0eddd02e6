"""Asking a provider over HTTP, as a neighbour that may be slow or gone: a lost answer is asked for again within the
retry budget and one time limit for all tries; a provider that fails too often is left alone for a while. Only what may
be repeated is asked here: everything carries an id of ours."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from doorbuster.contexts.payments.http_client import AnswerTooLong, HttpClient, NoAnswer
from doorbuster.contexts.payments.resilience import AT_ONCE, PROVIDERS
from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.breaker.breaker import monotonic_ms
from doorbuster.platform.neighbour import Judge, Neighbour, TooSlow
from doorbuster.platform.retry import HEADER, attempt

FIRST_PAUSE_S = 0.05
"""At most so long before the second try; doubled before each further one."""

REFUSALS = frozenset({400, 402, 409, 422})
"""The provider has read the request and says no. Other 4xx mean that we do not talk to it properly (a wrong
address, a missing right): that may be mended, so nothing is given up for it."""

T = TypeVar("T")
Busy = Callable[[int, bytes], bool]


class _Later(Exception):
    """An answer that means "later"."""


class _InProgress(_Later):
    """The provider works on the same request: that is no failure of it."""


_JUDGE = Judge(
    fails=lambda error: isinstance(error, (NoAnswer, AnswerTooLong, _Later)) and not isinstance(error, _InProgress),
    worth_another=lambda error: isinstance(error, (NoAnswer, _Later)),
)


class Asker:
    """One provider's address. Its connections are made in the loop that first uses it."""

    def __init__(
        self,
        base_url: str,
        timeout_s: float,
        first_pause_s: float,
        busy: Busy | None = None,
        neighbour: Neighbour | None = None,
    ) -> None:
        """`busy` knows answers below 500, beyond 429, that mean "later". Without a `neighbour` of the platform's it has
        one of its own, on the declared terms and with `first_pause_s`."""
        self._client = HttpClient(base_url, AT_ONCE)
        self._timeout_s = timeout_s
        self._busy = busy
        self._neighbour = neighbour or _private(first_pause_s)

    async def ask(self, method: str, target: str, headers: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status (below 500) and content of an answer. Raises Unavailable."""
        try:
            return await self._neighbour.call(
                partial(self._ask_once, method, target, headers, body),
                judge=_JUDGE,
                idempotent=True,
                read=method == "GET",  # hedged where the settings say so
                limit_s=self._timeout_s,
            )
        except TooSlow as slow:
            raise Unavailable("the payment provider did not answer in time") from slow
        except AnswerTooLong as error:
            raise Unavailable("the payment provider's answer is too long") from error
        except (NoAnswer, _Later) as lost:
            raise Unavailable("the payment provider is not available") from lost
        except Overloaded as full:
            raise Unavailable("too many wait for the payment provider") from full

    async def close(self) -> None:
        await self._client.close()

    async def _ask_once(self, method: str, target: str, headers: str, body: bytes | None) -> tuple[int, bytes]:
        """Raises NoAnswer, AnswerTooLong, _Later."""
        number = attempt()
        if number > 1:
            headers += f"{HEADER.decode()}: {number}\r\n"
        status, content = await self._client.request(method, target, headers, body)
        if status >= 500 or status == 429:
            raise _Later
        if self._busy is not None and self._busy(status, content):
            raise _InProgress
        return status, content


def _private(first_pause_s: float) -> Neighbour:
    declared = PROVIDERS.default
    settings = replace(declared, retry=replace(declared.retry, first_pause_ms=round(first_pause_s * 1000)))
    return Neighbour("payments", "", lambda: settings, monotonic_ms, random.random)


def understood(content: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises Unavailable."""
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is a DecodeError
        raise Unavailable("the payment provider's answer cannot be understood") from error
