"""The provider's service: each call is one durable transaction, with the misbehaviour of the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct

from doorbuster.lab.payment_simulator import counters, intents, outbox, refunds, statement
from doorbuster.lab.payment_simulator.deliverer import Deliverer
from doorbuster.lab.payment_simulator.intents import Conditions
from doorbuster.lab.payment_simulator.messages import (
    Intent,
    IntentCreated,
    IntentRequest,
    Outcome,
    RefundDone,
    RefundItem,
    RefundItems,
    RefundRequest,
    StatementPage,
)
from doorbuster.lab.payment_simulator.misbehaviour import Dice, Misbehaviour
from doorbuster.lab.payment_simulator.statement import Bounds
from doorbuster.lab.payment_simulator.writer import Work, Writer

T = TypeVar("T")

OptionalUrl = Annotated[str, Meta(pattern=r"^(https?://[!-~]+)?\Z", max_length=2048)]


class Stats(Struct, frozen=True):
    """Counts since the data file was made, except ``replies`` (since this process started).

    ``captured`` and ``refunded`` are minor units by currency. ``deliveries`` is kind -> outcome -> count,
    where the kinds are genuine, duplicate and forged. ``misbehaved`` counts events, ``replies`` requests.
    """

    intents: int
    cancelled: int
    declines: int
    captures: int
    captured: dict[str, int]
    refunds: int
    refunded: dict[str, int]
    deliveries: dict[str, dict[str, int]]
    deliveries_pending: int
    misbehaved: dict[str, int]
    replies: dict[str, int]


class Endpoint(Struct, frozen=True, forbid_unknown_fields=True):
    """What the merchant's account wants to be told, and where.

    ``webhooks`` "off": nothing is told of what was confirmed in the request itself, whose answer tells it.
    ``stripe_webhook_url``: where callbacks of the payment intents protocol go; empty is an account without an
    endpoint. (In the simulator's own protocol every intent names its own.)
    """

    webhooks: Literal["on", "off"] = "on"
    stripe_webhook_url: OptionalUrl = ""


class Provider:
    """What a payment provider does; ``base_url`` is where shoppers find the checkout."""

    def __init__(
        self,
        writer: Writer,
        deliverer: Deliverer,
        dice: Dice,
        base_url: str,
        now_ms: Callable[[], int],
        endpoint: Endpoint,
    ) -> None:
        self._writer = writer
        self._deliverer = deliverer
        self._base_url = base_url
        self._now_ms = now_ms
        self.dice = dice
        self.endpoint = endpoint
        self.replies = {"dropped": 0, "slow": 0, "down": 0}

    def misbehave(self, settings: Misbehaviour) -> None:
        """Replace the settings; events announced before keep what they drew."""
        self.dice = Dice(self.dice.seed, settings)

    def conditions(self) -> Conditions:
        """Those of this moment."""
        return Conditions(self.dice, self._now_ms(), self.endpoint.webhooks == "on")

    async def transact(self, work: Work[T]) -> T:
        """One transaction, which may have something to tell."""
        result = await self._writer.run(work)
        self._deliverer.wake()
        return result

    async def create_intent(self, request: IntentRequest) -> IntentCreated:
        """See ``intents.create``."""
        conditions = self.conditions()
        intent = await self._writer.run(lambda store: intents.create(store, request, conditions))
        if intent.method is not None and conditions.announce_at_once:
            self._deliverer.wake()
        return IntentCreated(
            intent.id,
            intent.reference,
            intent.status,
            intent.order_id,
            intent.amount,
            intent.currency,
            intent.captured,
            intent.refunded,
            checkout_url=f"{self._base_url}/checkout/{intent.reference}",
            decline=None if intent.decline is None else intent.decline.replace("_", "-"),
        )

    async def find_intent(self, payment_id: str) -> Intent:
        """See ``intents.find``."""
        return (await self._writer.run(lambda store: intents.find(store, payment_id))).shown

    async def find_checkout(self, reference: str) -> Intent:
        """See ``intents.find_by_reference``."""
        return (await self._writer.run(lambda store: intents.find_by_reference(store, reference))).shown

    async def cancel(self, payment_id: str) -> Intent:
        """See ``intents.cancel``."""
        conditions = self.conditions()
        return (await self._writer.run(lambda store: intents.cancel(store, payment_id, conditions)))[0].shown

    async def confirm(self, reference: str, outcome: Outcome) -> Intent:
        """See ``intents.confirm``."""
        conditions = self.conditions()
        return (await self.transact(lambda store: intents.confirm(store, reference, outcome, conditions))).shown

    async def refund(self, request: RefundRequest) -> RefundDone:
        """See ``refunds.refund``."""
        dice, now_ms = self.dice, self._now_ms()
        return await self.transact(lambda store: refunds.refund(store, request, dice, now_ms))

    async def made_refunds(self, payment_id: str) -> RefundItems:
        """See ``refunds.made``."""
        made = await self._writer.run(lambda store: refunds.made(store, intents.find(store, payment_id)))
        return RefundItems([RefundItem(row.id, row.amount, row.currency) for row in made])

    async def read_statement(self, cursor: str | None, limit: int, bounds: Bounds) -> StatementPage:
        """See ``statement.read_page``.

        Raises:
            InvalidCursorError: the cursor was not given out here.
        """
        position = statement.decode_cursor(cursor)
        return await self._writer.run(lambda store: statement.read_page(store, position, limit, bounds))

    async def stats(self) -> Stats:
        """What happened so far."""
        counts, pending = await self._writer.run(lambda store: (counters.read_all(store), outbox.count_pending(store)))
        deliveries: dict[str, dict[str, int]] = {"genuine": {}, "duplicate": {}, "forged": {}}
        for name, value in _under("deliveries", counts).items():
            kind, outcome = name.split(".")
            deliveries[kind][outcome] = value
        return Stats(
            intents=counts.get("intents", 0),
            cancelled=counts.get("cancelled", 0),
            declines=counts.get("declines", 0),
            captures=counts.get("captures", 0),
            captured=_under("captured", counts),
            refunds=counts.get("refunds", 0),
            refunded=_under("refunded", counts),
            deliveries=deliveries,
            deliveries_pending=pending,
            misbehaved=_under("misbehaved", counts),
            replies=dict(self.replies),
        )


def _under(group: str, counts: dict[str, int]) -> dict[str, int]:
    prefix = f"{group}."
    return {name.removeprefix(prefix): value for name, value in counts.items() if name.startswith(prefix)}
