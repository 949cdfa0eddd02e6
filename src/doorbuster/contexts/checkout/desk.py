"""Where carts lie while they are worked on: read and written in batches, remembered while somebody is at them.

What is remembered is where a change starts from; whether it still holds is for the database to say. So a stale memory
costs a second look and never a wrong row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from doorbuster.contexts.checkout import store, writing
from doorbuster.contexts.checkout.model import Cart, Checkout
from doorbuster.contexts.checkout.writing import Change, Create, Op, Placed
from doorbuster.contracts.checkout import CartNotFound
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Busy, Overloaded, ShopError
from doorbuster.platform.settings.tree import CheckoutSettings
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.telemetry.crash_points import crash_point

T = TypeVar("T")

REMEMBERED_MAX = 5_000
LOOKS_MAX = 8
"""How often a change is tried anew while others change the same cart."""


class Desk:
    def __init__(self, database: Database, clock: Clock, settings: CheckoutSettings) -> None:
        self._database = database
        self._clock = clock
        self._remembered: dict[int, Cart] = {}
        self._writes: GroupCommit[Op, bool] = GroupCommit(
            self._commit, max_batch=settings.batch_max, max_waiting=settings.waiting_max
        )
        self._reads: GroupCommit[int, Cart] = GroupCommit(
            self._look_up, max_batch=settings.batch_max, max_waiting=settings.waiting_max
        )

    async def on_cart(self, cart_id: int, attempt: Callable[[Cart], Awaitable[T | None]]) -> T:
        """What `attempt` makes of the cart; it returns None if the cart was not as it thought, and is asked again.

        A refusal counts only if the cart was just read. Raises CartNotFound, Overloaded, what `attempt` raises.
        """
        cart = self._remembered.get(cart_id)
        for _ in range(LOOKS_MAX):
            is_fresh = cart is None
            if cart is None:
                cart = await self.read(cart_id)
            try:
                made = await attempt(cart)
            except ShopError as refused:
                if is_fresh or isinstance(refused, Busy):
                    raise
                made = None
            if made is not None:
                return made
            cart = None
        raise Overloaded("this cart is being changed by many at once")

    async def read(self, cart_id: int) -> Cart:
        """As committed. Raises CartNotFound, Unavailable."""
        return await self._reads.submit(cart_id)

    async def create(self, create: Create, deadline: Deadline | None = None) -> bool:
        """False: the key was used before."""
        return await self._write(create, create.cart, deadline)

    async def change(self, cart: Cart, deadline: Deadline | None = None) -> bool:
        """False: the cart is not one version behind."""
        return await self._write(Change(cart), cart, deadline)

    async def begin(self, cart: Cart, checkout: Checkout, due_ms: int, deadline: Deadline | None = None) -> bool:
        """False: the cart is not one version behind. Raises CouponUsedUp, CouponNotApplicable (nothing is written)."""
        return await self._write(Change(cart, checkout, due_ms), cart, deadline)

    async def placed(self, order_id: int) -> bool:
        """False: the checkout was not placing."""
        return await self._writes.submit(Placed(order_id))

    def forget(self, cart_id: int) -> None:
        """The cart was changed past this desk."""
        self._remembered.pop(cart_id, None)

    async def close(self) -> None:
        await self._writes.close()
        await self._reads.close()

    async def _write(self, op: Op, cart: Cart, deadline: Deadline | None) -> bool:
        self._remembered.pop(cart.id, None)
        applied = await self._writes.submit(op, deadline)
        if applied:
            self._remember(cart)
        return applied

    def _remember(self, cart: Cart) -> None:
        self._remembered[cart.id] = cart
        if len(self._remembered) > REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]

    async def _commit(self, ops: Sequence[Op]) -> Sequence[bool | Exception]:
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> list[bool | Exception]:
            outcomes = writing.commit_batch(tx, ops, now_ms)
            crash_point("checkout.written-not-committed")
            return outcomes

        return await self._database.write(work)

    async def _look_up(self, cart_ids: Sequence[int]) -> Sequence[Cart | CartNotFound]:
        found = await self._database.read(lambda tx: store.find_carts(tx, sorted(set(cart_ids))))
        return [found.get(cart_id) or CartNotFound() for cart_id in cart_ids]
