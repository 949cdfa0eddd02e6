"""Decisions of the flash sale. Pure: time and ids come in as arguments, rows go out as values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from doorbuster.contracts.catalog import SkuFacts
from doorbuster.contracts.flash_sale import (
    QUANTITY_MAX,
    UNITS_MAX,
    Claim,
    ClaimRequest,
    LimitReached,
    SaleNotFound,
    SaleNotOpen,
    SaleProposal,
    SaleTermsInvalid,
    SoldOut,
)
from doorbuster.kernel.admission import Admission, AdmissionInvalid, AdmissionRequired
from doorbuster.kernel.cause import Cause
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import AMOUNT_MAX, Money

GIVE_BACKS_MAX = 3
"""How often a release gives a customer's quota back, per sale: nobody parks stock for ever by not paying."""

PAY_WITHIN_MS_MIN, PAY_WITHIN_MS_MAX = 1_000, 7 * 24 * 3600 * 1000

State = Literal["scheduled", "open", "sold_out", "closed"]
SaleId = int
CustomerId = int
Quota = tuple[SaleId, CustomerId]
Ticket = tuple[SaleId, int]


class Terms(Struct, frozen=True):
    """What is sold, and how. Never changes once the sale is created."""

    sale_id: int
    merchant_id: int
    sku_id: int
    title: str
    price: Money
    limit_per_customer: int
    pay_within_ms: int
    created_ms: int


class Allotment(Struct, frozen=True):
    """The units of a sale: what was allotted, what is left. `version` grows with every change of the row."""

    sale_id: int
    units: int
    left: int
    version: int
    opens_ms: int
    closes_ms: int
    guarded: bool = False
    """Whether a claim needs an admission of the waiting room."""

    def is_open(self, now_ms: int) -> bool:
        return self.opens_ms <= now_ms < self.closes_ms

    def state(self, now_ms: int) -> State:
        if now_ms >= self.closes_ms:
            return "closed"
        if now_ms < self.opens_ms:
            return "scheduled"
        return "open" if self.left else "sold_out"


class Sale(Struct, frozen=True):
    terms: Terms
    allotment: Allotment


def plan_sale(proposal: SaleProposal, sku: SkuFacts, sale_id: int, now_ms: int) -> Sale:
    """The sale that a proposal comes to. Raises SaleTermsInvalid with the term that is wrong."""
    rules = (
        ("sku_id", sku.active),
        ("units", 1 <= proposal.units <= UNITS_MAX),
        ("price", proposal.price.amount > 0 and proposal.price.currency == sku.price.currency),
        ("limit_per_customer", 1 <= proposal.limit_per_customer <= QUANTITY_MAX),
        ("price times limit_per_customer", proposal.price.amount * proposal.limit_per_customer <= AMOUNT_MAX),
        ("opens_at", proposal.opens_ms < proposal.closes_ms),
        ("closes_at", proposal.closes_ms > now_ms),
        ("pay_within_s", PAY_WITHIN_MS_MIN <= proposal.pay_within_ms <= PAY_WITHIN_MS_MAX),
    )
    for term, holds in rules:
        if not holds:
            raise SaleTermsInvalid(f"{term} is out of range for this sale", term=term)
    terms = Terms(
        sale_id=sale_id,
        merchant_id=sku.merchant_id,
        sku_id=sku.sku_id,
        title=sku.title,
        price=proposal.price,
        limit_per_customer=proposal.limit_per_customer,
        pay_within_ms=proposal.pay_within_ms,
        created_ms=now_ms,
    )
    allotment = Allotment(sale_id, proposal.units, proposal.units, 1, proposal.opens_ms, proposal.closes_ms)
    return Sale(terms, allotment)


@dataclass(slots=True)
class Decision:
    """What a batch of claims comes to: an outcome for each request, and the rows that make it true."""

    outcomes: list[Claim | ShopError] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """The idempotency key of each of `claims`."""
    causes: list[Cause | None] = field(default_factory=list)
    """What each of `claims` was made for."""
    used: dict[Quota, int] = field(default_factory=dict)
    """Units to add to each customer's counter."""
    taken: dict[SaleId, int] = field(default_factory=dict)
    """Units to take from each allotment."""
    spent: dict[Ticket, Claim] = field(default_factory=dict)
    """The claim that each admission was spent on."""


def decide(
    requests: Sequence[ClaimRequest],
    terms: Mapping[SaleId, Terms],
    allotments: Mapping[SaleId, Allotment],
    used: Mapping[Quota, int],
    bound: Mapping[tuple[SaleId, CustomerId, str], Claim],
    now_ms: int,
    next_id: Callable[[CustomerId], int],
    spent: Collection[Ticket] = (),
) -> Decision:
    """Decides requests in order of arrival.

    `used` holds the counter of each (sale, customer) that has one; `bound` the claims whose key is asked for again.
    A request that cannot be afforded consumes nothing, and the next is tried. Only success binds a key, and spends an
    admission: those in `spent` were used before.
    """
    decision = Decision()
    left = {sale_id: allotment.left for sale_id, allotment in allotments.items()}
    fresh: dict[tuple[SaleId, CustomerId, str], Claim] = {}
    for request in requests:
        sale_id, customer_id, quantity = request.sale_id, request.customer_id, request.quantity
        identity = (sale_id, customer_id, request.key)
        earlier = bound.get(identity) or fresh.get(identity)
        if earlier is not None:
            decision.outcomes.append(earlier if earlier.quantity == quantity else IdempotencyKeyReused())
            continue
        allotment = allotments.get(sale_id)
        if allotment is None:
            decision.outcomes.append(SaleNotFound())
            continue
        quota = (sale_id, customer_id)
        held = used.get(quota, 0) + decision.used.get(quota, 0)
        refusal = _refusal(terms[sale_id], allotment, left[sale_id], held, quantity, now_ms)
        if allotment.guarded and not isinstance(refusal, SaleNotOpen):
            refusal = _not_admitted(request, now_ms, (spent, decision.spent)) or refusal
        if refusal is not None:
            decision.outcomes.append(refusal)
            continue
        claim = _claim(terms[sale_id], request, next_id(customer_id), now_ms)
        left[sale_id] -= quantity
        decision.taken[sale_id] = decision.taken.get(sale_id, 0) + quantity
        decision.used[quota] = decision.used.get(quota, 0) + quantity
        decision.claims.append(claim)
        decision.keys.append(request.key)
        decision.causes.append(request.cause)
        decision.outcomes.append(claim)
        fresh[identity] = claim
        if allotment.guarded and request.admission is not None:
            decision.spent[sale_id, request.admission.ticket_id] = claim
    return decision


def _not_admitted(request: ClaimRequest, now_ms: int, spent: Iterable[Collection[Ticket]]) -> ShopError | None:
    """Why a claim in a guarded sale is refused, whatever else speaks for it."""
    admission = request.admission
    if admission is None:
        return AdmissionRequired()
    if not is_bound_to(admission, request):
        return AdmissionInvalid(reason="not-yours")
    if any((request.sale_id, admission.ticket_id) in tickets for tickets in spent):
        return AdmissionInvalid(reason="used")
    if now_ms >= admission.expires_ms:
        return AdmissionInvalid(reason="expired")
    return None


def is_bound_to(admission: Admission, request: ClaimRequest) -> bool:
    return (admission.sale_id, admission.customer_id) == (request.sale_id, request.customer_id)


def _refusal(terms: Terms, allotment: Allotment, left: int, held: int, quantity: int, now_ms: int) -> ShopError | None:
    if not allotment.is_open(now_ms):
        return SaleNotOpen(state=allotment.state(now_ms))
    if held + quantity > terms.limit_per_customer:
        return LimitReached(limit=terms.limit_per_customer, held=held)
    if quantity > left:
        return SoldOut(units_left=left)
    return None


def _claim(terms: Terms, request: ClaimRequest, order_id: int, now_ms: int) -> Claim:
    return Claim(
        order_id=order_id,
        sale_id=terms.sale_id,
        customer_id=request.customer_id,
        sku_id=terms.sku_id,
        title=terms.title,
        quantity=request.quantity,
        unit_price=terms.price,
        claimed_ms=now_ms,
        pay_by_ms=now_ms + terms.pay_within_ms,
        merchant_id=terms.merchant_id,
    )


class ReleasedClaim(Struct, frozen=True):
    order_id: int
    sale_id: int
    customer_id: int
    quantity: int


def units_by_sale(released: Iterable[ReleasedClaim]) -> dict[SaleId, int]:
    units: dict[SaleId, int] = {}
    for claim in released:
        units[claim.sale_id] = units.get(claim.sale_id, 0) + claim.quantity
    return units
