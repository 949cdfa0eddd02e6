"""What the flash sale must answer, said a second time and in other words: from the rows, request by request."""

from __future__ import annotations

from dataclasses import dataclass, field

from doorbuster.contracts.flash_sale import (
    Claim,
    ClaimRequest,
    LimitReached,
    SaleNotFound,
    SaleNotOpen,
    SoldOut,
)
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from simulation.world import World


@dataclass
class SaleOracle:
    """The rows of all sales before a batch; answering moves them on."""

    world: World
    left: dict[int, int] = field(default_factory=dict)
    hours: dict[int, tuple[int, int]] = field(default_factory=dict)
    limit: dict[int, int] = field(default_factory=dict)
    used: dict[tuple[int, int], int] = field(default_factory=dict)
    bound: dict[tuple[int, int, str], tuple[int, int]] = field(default_factory=dict)
    """(order, quantity) of each key; the order of a claim that is only expected is 0."""

    def __post_init__(self) -> None:
        for row in self.world.rows("flash_sale", "SELECT * FROM allotments JOIN sales USING (sale_id)"):
            self.left[row["sale_id"]] = row["units_left"]
            self.hours[row["sale_id"]] = (row["opens_ms"], row["closes_ms"])
            self.limit[row["sale_id"]] = row["limit_per_customer"]
        for row in self.world.rows("flash_sale", "SELECT * FROM quotas"):
            self.used[row["sale_id"], row["customer_id"]] = row["used"]
        for row in self.world.rows("flash_sale", "SELECT * FROM claims"):
            self.bound[row["sale_id"], row["customer_id"], row["key"]] = (row["order_id"], row["quantity"])

    def may_answer(self, asked: ClaimRequest, answer: Claim | Exception) -> bool:
        """Whether `answer` is one that `asked` may get now."""
        sale, quota = asked.sale_id, (asked.sale_id, asked.customer_id)
        identity = (*quota, asked.key)
        if identity in self.bound:
            order_id, quantity = self.bound[identity]
            if quantity != asked.quantity:
                return isinstance(answer, IdempotencyKeyReused)
            return isinstance(answer, Claim) and answer.order_id == order_id
        if sale not in self.left:
            return isinstance(answer, SaleNotFound)
        if isinstance(answer, Claim):
            return self._grants(asked) and self._take(asked, answer)
        opens_ms, closes_ms = self.hours[sale]
        if not opens_ms <= self.world.clock.now_ms() < closes_ms:
            return isinstance(answer, SaleNotOpen)
        if isinstance(answer, SoldOut) and quota not in self.used:
            # From memory, which may lag behind a refill; that it does not lag for ever is asserted by its own rule.
            return True
        if self.used.get(quota, 0) + asked.quantity > self.limit[sale]:
            return isinstance(answer, LimitReached)
        return isinstance(answer, SoldOut) and asked.quantity > self.left[sale]

    def _grants(self, asked: ClaimRequest) -> bool:
        opens_ms, closes_ms = self.hours[asked.sale_id]
        held = self.used.get((asked.sale_id, asked.customer_id), 0)
        return (
            opens_ms <= self.world.clock.now_ms() < closes_ms
            and held + asked.quantity <= self.limit[asked.sale_id]
            and asked.quantity <= self.left[asked.sale_id]
        )

    def _take(self, asked: ClaimRequest, claim: Claim) -> bool:
        quota = (asked.sale_id, asked.customer_id)
        self.left[asked.sale_id] -= asked.quantity
        self.used[quota] = self.used.get(quota, 0) + asked.quantity
        self.bound[*quota, asked.key] = (claim.order_id, asked.quantity)
        return (claim.quantity, claim.customer_id, claim.released) == (asked.quantity, asked.customer_id, False)
