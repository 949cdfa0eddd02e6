"""Flash sale: limited units, claimed by whoever comes first, within a lifetime limit per customer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from doorbuster.kernel.admission import Admission
from doorbuster.kernel.cause import Cause
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Conflict, Invalid, NotFound
from doorbuster.kernel.events import Event
from doorbuster.kernel.money import Money

QUANTITY_MAX = 1000
UNITS_MAX = 100_000_000


class SaleNotFound(NotFound):
    slug = "sale-not-found"
    title = "There is no such sale"


class ClaimNotFound(NotFound):
    slug = "claim-not-found"
    title = "There is no such claim"


class SoldOut(Conflict):
    slug = "sold-out"
    title = "All units are taken; some may come back while others do not pay"


class LimitReached(Conflict):
    slug = "limit-reached"
    title = "This customer has had all the units one customer may have"


class SaleNotOpen(Conflict):
    slug = "sale-not-open"
    title = "The sale is not open"


class SaleStarted(Conflict):
    """Whether a sale has a waiting room is settled when it opens."""

    slug = "sale-started"
    title = "The sale has opened already"


class SaleTermsInvalid(Invalid):
    slug = "sale-terms-invalid"
    title = "A sale on these terms cannot be held"


class SaleProposal(Struct, frozen=True):
    """What a merchant asks for: `units` of a SKU at `price` each, between two instants."""

    sku_id: int
    units: int
    price: Money
    limit_per_customer: int
    opens_ms: int
    closes_ms: int
    pay_within_ms: int


class ClaimRequest(Struct, frozen=True):
    sale_id: int
    customer_id: int
    key: str
    quantity: int
    admission: Admission | None = None
    """Whose signature was checked; whether it fits this claim is decided with the claim."""
    cause: Cause | None = None
    """What its events tell of where it came from. Left empty, it is the request in whose task it is made."""

    def caused_by(self, cause: Cause | None) -> ClaimRequest:
        return ClaimRequest(self.sale_id, self.customer_id, self.key, self.quantity, self.admission, cause)


class Claim(Struct, frozen=True):
    """Units promised to a customer until `pay_by_ms`. The order's id is born here."""

    order_id: int
    sale_id: int
    customer_id: int
    sku_id: int
    title: str
    quantity: int
    unit_price: Money
    claimed_ms: int
    pay_by_ms: int
    merchant_id: int
    released: bool = False


class ClaimAccepted(Event, frozen=True, tag="flash_sale.claim-accepted"):
    claim: Claim

    @property
    def aggregate_id(self) -> int:
        return self.claim.order_id


class UnitsReleased(Event, frozen=True, tag="flash_sale.units-released"):
    order_id: int
    sale_id: int
    quantity: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class AdmissionUsed(Event, frozen=True, tag="flash_sale.admission-used"):
    """A claim was made with this ticket's admission, which is good for no other."""

    sale_id: int
    customer_id: int
    ticket_id: int
    order_id: int

    @property
    def aggregate_id(self) -> int:
        return self.sale_id


class AllotmentReturned(Event, frozen=True, tag="flash_sale.allotment-returned"):
    """Units of a closed sale that nobody claimed, or that came back after its close, go back to the warehouse.

    `number` counts the returns of a sale from 1.
    """

    sale_id: int
    sku_id: int
    number: int
    quantity: int

    @property
    def aggregate_id(self) -> int:
        return self.sale_id


class FlashSale(Protocol):
    async def claim_many(
        self, requests: Sequence[ClaimRequest], deadline: Deadline | None = None
    ) -> Sequence[Claim | Exception]:
        """An outcome per request: the claim (durable), or why not: SaleNotFound, SoldOut, LimitReached,
        SaleNotOpen, IdempotencyKeyReused, Overloaded, Unavailable, OutcomeUnknown."""
        ...

    async def claims(self, order_ids: Sequence[int]) -> Sequence[Claim]:
        """Those of the claims that exist, in order of id. At most 1000 ids."""
        ...


class SaleDoor(Struct, frozen=True):
    """What whoever stands before a sale's door has to know. `guarded`: claims need an admission."""

    sale_id: int
    merchant_id: int
    title: str
    opens_ms: int
    closes_ms: int
    units_left: int
    guarded: bool


class ClaimPace(Struct, frozen=True):
    """How the claim path of this process is doing: claims answered so far, and how long they wait lately."""

    answered: int
    wait_ms: float


class GuardsSales(Protocol):
    """The flash sale as the waiting room sees it."""

    async def doors(self, sale_ids: Sequence[int]) -> Sequence[SaleDoor]:
        """Those of the sales that exist, in order of id. Raises Unavailable."""
        ...

    async def guard(self, sale_id: int, *, guarded: bool) -> SaleDoor:
        """Makes the sale demand an admission with each claim, or not; does nothing if it is so.

        Raises SaleNotFound, SaleStarted, Unavailable.
        """
        ...

    def pace(self) -> ClaimPace: ...
