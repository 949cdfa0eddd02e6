"""What delivery knows of an order whose event is still under way: asked of orders, written as the consumer would."""

from __future__ import annotations

from doorbuster.contexts.delivery import changing, store
from doorbuster.contexts.delivery.model import KnownOrder
from doorbuster.contracts.orders import Order, Orders
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database


class Knowing:
    def __init__(self, platform: Platform, database: Database, orders: Orders) -> None:
        self._platform = platform
        self._database = database
        self._orders = orders

    async def ensure(self, order_id: int) -> None:
        """If the order is paid its task or parcel is there afterwards. Raises Unavailable."""
        if await self._database.read(lambda tx: store.is_known(tx, order_id)):
            return
        found = await self._orders.find_many([order_id])
        if found and found[0].status == "paid":
            order, now_ms = found[0], self._platform.clock.now_ms()
            known = KnownOrder(order.id, order.customer_id, order.merchant_id, order.fulfilment, order.destination)
            await self._database.write(lambda tx: changing.know_paid(tx, [known], now_ms))

    async def order_of(self, principal: Principal, order_id: int) -> Order | None:
        """The order if this is its customer, or support or an admin; None else."""
        found = await self._orders.find_many([order_id])
        if not found:
            return None
        theirs = found[0].customer_id == principal.account_id or principal.role in ("support", "admin")
        return found[0] if theirs else None


def serves(principal: Principal, merchant_id: int) -> bool:
    """Whether this is the merchant, or somebody who acts for the shop."""
    if principal.role == "merchant":
        return principal.account_id == merchant_id
    return principal.role in ("support", "admin")


def actor_of(principal: Principal) -> str:
    return f"account {principal.account_id}"
