"""Audit: each context contributes its own checks, and the facts that its neighbours are checked against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.contracts.orders import PaidLine
from doorbuster.kernel.money import Money

Verdict = Literal["holds", "broken", "in flight"]
BREACHES_SHOWN = 20
FACTS_PAGE = 2_000


class Check(Struct, frozen=True):
    """One statement about the rows. `breaches` names at most BREACHES_SHOWN offenders, in words."""

    name: str
    verdict: Verdict
    detail: str
    breaches: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.verdict != "broken"


class Auditable(Protocol):
    """A context that can prove its own books."""

    async def audit(self) -> Sequence[Check]:
        """Checks within the context, each on one short snapshot."""
        ...


class ClaimFact(Struct, frozen=True):
    order_id: int
    customer_id: int
    total: Money
    released: bool
    pay_by_ms: int


class OrderFact(Struct, frozen=True):
    """`lines`: units per line, less those that were returned to stock."""

    order_id: int
    customer_id: int
    status: str
    total: Money
    payment_id: int | None
    sale_id: int | None
    lines: tuple[PaidLine, ...]
    refund_requested: Money
    sent_off: bool

    @property
    def from_sale(self) -> bool:
        return self.sale_id is not None


class HoldFact(Struct, frozen=True):
    """What inventory has set aside or sold for an order, per SKU, over all warehouses."""

    order_id: int
    status: str
    lines: tuple[PaidLine, ...]


class AllotmentFact(Struct, frozen=True):
    """A sale as the warehouse sees it: units allotted, of them sold, and of them returned."""

    sale_id: int
    sku_id: int
    allotted: int
    sold: int
    returned: int


class SaleFact(Struct, frozen=True):
    """A sale as it sees itself. `units` + `returned` were allotted; `claimed` are units of claims that stand."""

    sale_id: int
    sku_id: int
    units: int
    left: int
    claimed: int
    returned: int


class PaymentFact(Struct, frozen=True):
    """`refund_requested` is how much of `amount` was asked back, whether or not the provider has given it back yet."""

    payment_id: int
    order_id: int
    amount: Money
    status: str
    refund_requested: Money


class AuditsClaims(Protocol):
    def claim_facts(self, after: int = 0) -> AsyncIterator[Sequence[ClaimFact]]:
        """Every claim with an order id above `after`, in ascending pages of at most FACTS_PAGE."""
        ...

    async def claim_facts_of(self, order_ids: Sequence[int]) -> Sequence[ClaimFact]:
        """Those that exist, at most FACTS_PAGE."""
        ...


class AuditsOrders(Protocol):
    def order_facts(self, after: int = 0) -> AsyncIterator[Sequence[OrderFact]]:
        """Every order with an id above `after`, in ascending pages of at most FACTS_PAGE."""
        ...

    async def order_facts_of(self, order_ids: Sequence[int]) -> Sequence[OrderFact]:
        """Those that exist, at most FACTS_PAGE."""
        ...


class AuditsPayments(Protocol):
    def captured_facts(self, after: int = 0) -> AsyncIterator[Sequence[PaymentFact]]:
        """Every payment that was ever captured, with an id above `after`, in ascending pages."""
        ...

    async def captured_facts_of(self, payment_ids: Sequence[int]) -> Sequence[PaymentFact]:
        """Those that exist and were ever captured, at most FACTS_PAGE."""
        ...


class AuditsInventory(Protocol):
    def hold_facts(self, after: int = 0) -> AsyncIterator[Sequence[HoldFact]]:
        """Every hold of an order with an id above `after`, in ascending pages of at most FACTS_PAGE."""
        ...

    async def hold_facts_of(self, order_ids: Sequence[int]) -> Sequence[HoldFact]:
        """Those that exist, at most FACTS_PAGE."""
        ...

    async def allotment_facts_of(self, sale_ids: Sequence[int]) -> Sequence[AllotmentFact]:
        """Those that exist, at most FACTS_PAGE."""
        ...


class AuditsSales(Protocol):
    def sale_facts(self, after: int = 0) -> AsyncIterator[Sequence[SaleFact]]:
        """Every sale with an id above `after`, in ascending pages of at most FACTS_PAGE."""
        ...

    async def sale_facts_of(self, sale_ids: Sequence[int]) -> Sequence[SaleFact]:
        """Those that exist, at most FACTS_PAGE."""
        ...
