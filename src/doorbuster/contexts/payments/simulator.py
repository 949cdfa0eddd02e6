"""The adapter to the payment simulator, over HTTP.

A lost answer is asked for again with the same id, a bounded number of times and within one deadline for all tries.
Answers are bounded in size and checked before anybody believes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import aiohttp
import msgspec
from msgspec import Meta, Struct

from doorbuster.contexts.payments.model import Intent, IntentStatus
from doorbuster.contexts.payments.provider import (
    IntentUnknown,
    Opened,
    ProviderRefused,
    StatementLine,
    StatementPage,
)
from doorbuster.kernel.clock import parse_rfc3339
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.money import AMOUNT_MAX, Money

NAME = "simulator"
TRIES_MAX = 4
FIRST_PAUSE_S = 0.05
"""Before the second try; doubled before each further one (0.35 s in all)."""
ANSWER_BYTES_MAX = 1024 * 1024
CONNECTIONS_MAX = 32

_REFUSALS = frozenset({400, 402, 409, 422})
"""The provider has read the request and says no. Other 4xx mean that we do not talk to it properly (a wrong
address, a missing right): that may be mended, so nothing is given up for it."""

_NO_INTENT = "intent-not-found"

T = TypeVar("T")
Refusal = Callable[[str, int, str], Exception | None]
"""From what was asked, status and slug: the error it means, or None if the provider should not say so."""

_OurId = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,18}\Z")]
_AnyId = Annotated[str, Meta(max_length=64)]
_Reference = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
_Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
_Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
_Url = Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z", max_length=2048)]


class _IntentRequest(Struct, frozen=True):
    id: str
    order_id: str
    amount: int
    currency: str
    webhook_url: str


class _RefundRequest(Struct, frozen=True):
    id: str
    payment_id: str
    amount: int
    currency: str


class _Created(Struct, frozen=True):
    reference: _Reference
    status: IntentStatus
    checkout_url: _Url


class _Intent(Struct, frozen=True):
    id: _OurId
    reference: _Reference
    status: IntentStatus
    order_id: _OurId
    amount: _Amount
    currency: _Currency
    captured: _Amount
    refunded: _Amount


class _Refunded(Struct, frozen=True):
    id: _OurId
    status: Literal["succeeded"]


class _Line(Struct, frozen=True):
    kind: Literal["capture", "refund"]
    payment_id: _AnyId
    order_id: _AnyId
    refund_id: _AnyId | None
    amount: _Amount
    currency: _Currency
    at: Annotated[str, Meta(max_length=40)]


class _Page(Struct, frozen=True):
    items: Annotated[list[_Line], Meta(max_length=1000)]
    next_cursor: Annotated[str, Meta(max_length=200)] | None


class _Problem(Struct, frozen=True):
    slug: Annotated[str, Meta(max_length=64)] = ""


class PaymentSimulator:
    """Satisfies `provider.Provider`. Its client is made in the loop that first uses it."""

    name = NAME

    def __init__(self, base_url: str, webhook_url: str, timeout_s: float, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._base_url = base_url.rstrip("/")
        self._webhook_url = webhook_url
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._client: aiohttp.ClientSession | None = None

    async def create_intent(self, payment_id: int, order_id: int, amount: Money) -> Opened:
        request = _IntentRequest(str(payment_id), str(order_id), amount.amount, amount.currency, self._webhook_url)
        created = await self._call("POST", "/v1/intents", _Created, _refused, request)
        return Opened(created.reference, created.status, created.checkout_url)

    async def get_intent(self, payment_id: int) -> Intent:
        return _intent(await self._call("GET", f"/v1/intents/{payment_id}", _Intent, _unknown))

    async def cancel_intent(self, payment_id: int) -> Intent:
        return _intent(await self._call("POST", f"/v1/intents/{payment_id}/cancel", _Intent, _unknown))

    async def refund(self, refund_id: int, payment_id: int, amount: Money) -> None:
        request = _RefundRequest(str(refund_id), str(payment_id), amount.amount, amount.currency)
        refunded = await self._call("POST", "/v1/refunds", _Refunded, _refused, request)
        if refunded.id != request.id:
            raise Unavailable("the payment provider answered about another refund")

    async def statement(self, after: str | None, limit: int) -> StatementPage:
        query = {"limit": str(limit)} | ({"after": after} if after is not None else {})
        page = await self._call("GET", "/v1/statement", _Page, _nothing_else, query=query)
        try:
            lines = tuple(_line(item) for item in page.items)
        except ValueError as error:
            raise Unavailable("the payment provider's statement has a time that is none") from error
        return StatementPage(lines, page.next_cursor)

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _call(
        self,
        method: str,
        path: str,
        answer_type: type[T],
        refusal: Refusal,
        request: Struct | None = None,
        query: dict[str, str] | None = None,
    ) -> T:
        body = None if request is None else msgspec.json.encode(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                status, content = await self._ask_until_answered(method, path, body, query)
        except TimeoutError as error:
            raise Unavailable("the payment provider did not answer in time") from error
        if not 200 <= status < 300:
            raise refusal(f"{method} {path}", status, _slug(content)) or Unavailable(
                f"the payment provider answered {status}"
            )
        return _understood(content, answer_type)

    async def _ask_until_answered(
        self, method: str, path: str, body: bytes | None, query: dict[str, str] | None
    ) -> tuple[int, bytes]:
        failure: Exception | None = None
        for attempt in range(TRIES_MAX):
            if attempt:
                await asyncio.sleep(self._first_pause_s * 2 ** (attempt - 1))
            try:
                status, content = await self._ask(method, path, body, query)
            except aiohttp.ClientError as lost:
                failure = lost
                continue
            if status < 500 and status != 429:
                return status, content
            failure = None
        raise Unavailable("the payment provider is not available") from failure

    async def _ask(self, method: str, path: str, body: bytes | None, query: dict[str, str] | None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"} if body is not None else {}
        url = f"{self._base_url}{path}"
        async with self._connected().request(
            method, url, data=body, params=query, headers=headers, allow_redirects=False
        ) as response:
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > ANSWER_BYTES_MAX:
                    raise Unavailable("the payment provider's answer is too long")
            return response.status, bytes(content)

    def _connected(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=20),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                headers={"accept": "application/json", "accept-encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._client


def _unknown(what: str, status: int, slug: str) -> Exception | None:
    """What a question about an intent may be refused with."""
    return IntentUnknown(what) if status == 404 and slug == _NO_INTENT else None


def _refused(what: str, status: int, slug: str) -> Exception | None:
    """What a request to open or give back may be refused with."""
    known = status in _REFUSALS or (status == 404 and slug == _NO_INTENT)
    return ProviderRefused(what, status, slug) if known else None


def _nothing_else(_what: str, _status: int, _slug: str) -> None:
    """What is always answered, or not at all."""


def _slug(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=_Problem).slug
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _understood(content: bytes, answer_type: type[T]) -> T:
    """Raises Unavailable."""
    try:
        return msgspec.json.decode(content, type=answer_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is a DecodeError
        raise Unavailable("the payment provider's answer cannot be understood") from error


def _intent(answer: _Intent) -> Intent:
    payment_id, order_id = int(answer.id), int(answer.order_id)
    if max(payment_id, order_id) > ID_MAX:
        raise Unavailable("the payment provider answered with an id that is none of ours")
    return Intent(
        payment_id,
        answer.reference,
        answer.status,
        order_id,
        answer.amount,
        answer.currency,
        answer.captured,
        answer.refunded,
    )


def _line(item: _Line) -> StatementLine:
    """Raises ValueError."""
    return StatementLine(
        item.kind,
        item.payment_id,
        item.order_id,
        item.refund_id,
        item.amount,
        item.currency,
        parse_rfc3339(item.at),
    )
