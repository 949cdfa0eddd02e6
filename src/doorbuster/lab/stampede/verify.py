"""Asking afterwards, through the public API only: is all there that was promised, and nothing beyond?"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import TypeVar

import msgspec

from .buyers import Buyer
from .errors import NoAnswerError, SaleUnreadableError
from .http_client import Pool, Response
from .judge import IDS_MAX, OpenEnds, OrderSeen, Verification, judge
from .lanes import LaneLimits
from .ledger import Ack, Doubt, Ledger
from .plan import Plan
from .wire import ClaimWriter, Sale, classify, problem_slug

T = TypeVar("T")
TRIES = 8
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 2.0  # between tries, doubling, with jitter; at most what Retry-After asks
WORKERS_MAX = 64
PATIENCE_S = 180.0


class _Line(msgspec.Struct, frozen=True):
    quantity: int


class _Order(msgspec.Struct, frozen=True):
    id: str
    status: str
    lines: list[_Line] | None = None
    customer_id: str | None = None


class _Claim(msgspec.Struct, frozen=True):
    released: bool


async def read_sale(pool: Pool, sale_id: str, buyer: Buyer | None) -> Sale:
    """GET /v1/sales/{id}, with the buyer's token if there is one. Raises `SaleUnreadableError`."""
    try:
        reply = await pool.request("GET", f"/v1/sales/{sale_id}", _bearer(buyer))
    except NoAnswerError as error:
        raise SaleUnreadableError(sale_id, 0, error.failure.value) from error
    if reply.status != 200:
        slug = problem_slug(reply.status, reply.body)
        raise SaleUnreadableError(sale_id, reply.status, f"{reply.status} {slug}")
    try:
        return reply.json(Sale)
    except msgspec.DecodeError as error:
        raise SaleUnreadableError(sale_id, reply.status, str(error)) from error


async def verify(plan: Plan, ledger: Ledger, *, tries: int = TRIES, patience_s: float = PATIENCE_S) -> Verification:
    """Settles the unknown, reads every acknowledged order and the sale, and judges.

    Every question is asked at most `tries` times, all of them together for at most `patience_s`; what is
    open then is reported as unknown or unreadable. The ledger learns what was recovered. Never raises for
    what a server says: a sale that cannot be read makes the verdict not ok and stands in `problems`.

    The unknown come first: asking again may claim, and an order read as held afterwards was held together
    with all the others, so that a unit sold again after a release is not counted twice.
    """
    workers = min(WORKERS_MAX, plan.connections)
    limits = LaneLimits(connections=workers, waiting=4 * workers, timeout_s=plan.timeout_s, wait_s=plan.timeout_s)
    async with Pool(plan.base_url, limits) as pool:
        check = _Check(plan, ledger, pool, tries, time.monotonic() + patience_s)
        recovered = await check.each(ledger.doubts(), check.settle, workers)
        promises = ledger.promises()
        await check.each(_once_each(promises), check.read, workers)
        sale = await check.sale()
    ends = OpenEnds(unknown=len(ledger.doubts()), recovered=recovered, problems=check.problems)
    return judge(sale, promises, check.orders, ends)


class _Check:
    """One verification under way."""

    def __init__(self, plan: Plan, ledger: Ledger, pool: Pool, tries: int, give_up_at: float) -> None:
        self._plan, self._ledger, self._pool = plan, ledger, pool
        self._tries, self._give_up_at = tries, give_up_at
        self._chance = Random(plan.seed)
        self._writer = ClaimWriter(pool.target, plan.sale_id, plan.quantity)
        self.orders: dict[tuple[str, str], OrderSeen] = {}
        self.problems: list[str] = []

    async def each(self, items: Iterable[T], ask: Callable[[T], Awaitable[bool]], workers: int) -> int:
        """Asks about every item, `workers` at a time, until patience ends. How many said True."""
        queue = iter(items)

        async def work() -> int:
            said_yes = 0
            for item in queue:
                if time.monotonic() > self._give_up_at:
                    self._note("patience ended before everything was asked")
                    break
                said_yes += await ask(item)
            return said_yes

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for _ in range(workers)]
        return sum(task.result() for task in tasks)

    async def settle(self, doubt: Doubt) -> bool:
        """Asks again with the same key. True if that was (or now is) a claim we had not booked.

        Only the stored answer or a 409 settles it: those looked at the key. "Too busy" did not.
        """
        buyer, key = doubt.buyer, doubt.key
        headers = self._writer.headers(buyer.token, key)
        reply = await self._ask("POST", self._writer.path, headers, self._writer.body)
        outcome = classify(reply.status, reply.body) if reply else None
        if reply is None or outcome is None or not (outcome.kind == "claimed" or reply.status == 409):
            self._note(f"key {key}: unknown ({doubt.reason}), asked again: {_say(reply)}")
            return False
        self._ledger.settled(buyer, key)
        if outcome.kind != "claimed":
            return False
        return self._ledger.acknowledged(buyer, key, outcome.order_id, outcome.quantity) == "new"

    async def read(self, ack: Ack) -> bool:
        """Reads one acknowledged order with its buyer's token. True if it is as promised."""
        reply = await self._ask("GET", f"/v1/orders/{ack.order_id}", _bearer(ack.buyer))
        seen = await self._look_at(ack, reply) if reply else None
        if seen is None:
            self._note(f"order {ack.order_id}: could not be read ({_say(reply)})")
            return False
        self.orders[ack.buyer.customer_id, ack.order_id] = seen
        return seen.found

    async def _look_at(self, ack: Ack, reply: Response) -> OrderSeen | None:
        if reply.status == 404:
            return OrderSeen(found=False, why="no such order")
        order = _decoded(reply, _Order)
        if order is None:
            return None
        if order.id != ack.order_id:
            return OrderSeen(found=False, why=f"answered with order {order.id}")
        if order.customer_id not in (None, ack.buyer.customer_id):
            return OrderSeen(found=False, why="belongs to somebody else")
        units = sum(line.quantity for line in order.lines or ())
        if order.lines is not None and units != ack.quantity:
            return OrderSeen(found=False, why=f"{units} units instead of {ack.quantity}")
        if order.status not in ("refunding", "refunded"):
            return OrderSeen(found=True, released=order.status == "cancelled")
        # A refund alone does not tell whether the units went back on sale; the claim does.
        answer = await self._ask("GET", f"/v1/claims/{ack.order_id}", _bearer(ack.buyer))
        claim = _decoded(answer, _Claim) if answer else None
        return OrderSeen(found=True, released=claim.released) if claim else None

    async def sale(self) -> Sale | None:
        """The sale, None if it could not be read."""
        buyer = next(self._ledger.buyers(), None)
        why = ""
        for attempt in range(self._tries):
            try:
                return await read_sale(self._pool, self._plan.sale_id, buyer)
            except SaleUnreadableError as error:
                why = str(error)
            await self._pause(attempt, 0.0)
        self._note(why)
        return None

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Response | None:
        """A reply that is neither 5xx nor 429; the last one of those (or None) when tries or patience end."""
        reply = None
        for attempt in range(self._tries):
            with contextlib.suppress(NoAnswerError):  # asked again below, within the same bound
                reply = await self._pool.request(method, path, headers, body)
                if reply.status < 500 and reply.status != 429:
                    break
            if time.monotonic() > self._give_up_at:
                break
            await self._pause(attempt, reply.retry_after_s if reply else 0.0)
        return reply

    async def _pause(self, attempt: int, retry_after_s: float) -> None:
        doubling_s = PAUSE_S_MIN * 2**attempt * self._chance.uniform(0.5, 1.5)
        await asyncio.sleep(min(PAUSE_S_MAX, max(doubling_s, retry_after_s)))

    def _note(self, problem: str) -> None:
        if len(self.problems) < IDS_MAX and problem not in self.problems:
            self.problems.append(problem)


def _decoded(reply: Response, kind: type[T]) -> T | None:
    if reply.status != 200:
        return None
    try:
        return reply.json(kind)
    except msgspec.DecodeError:
        return None


def _say(reply: Response | None) -> str:
    return f"{reply.status} {problem_slug(reply.status, reply.body)}" if reply else "no answer"


def _once_each(promises: Iterable[Ack]) -> Iterable[Ack]:
    return {(ack.buyer.customer_id, ack.order_id): ack for ack in promises}.values()


def _bearer(buyer: Buyer | None) -> dict[str, str]:
    return {"authorization": f"Bearer {buyer.token}"} if buyer else {}
