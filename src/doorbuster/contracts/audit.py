"""Audit: each context contributes its own checks, and the facts that its neighbours are checked against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

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
    order_id: int
    customer_id: int
    status: str
    total: Money
    payment_id: int | None
    from_sale: bool


class PaymentFact(Struct, frozen=True):
    payment_id: int
    order_id: int
    amount: Money
    status: str


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
