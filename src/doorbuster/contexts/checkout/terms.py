"""What merchants lay down for their orders: ways of shipping and coupons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import asdict

from doorbuster.contexts.checkout import terms_store
from doorbuster.contexts.checkout.model import (
    METHODS_MAX,
    Coupon,
    NewCoupon,
    ShippingMethod,
    checked_coupon,
    checked_method,
)
from doorbuster.contexts.checkout.pricing import standard_method
from doorbuster.contexts.checkout.recent import Recent
from doorbuster.contracts.checkout import (
    CouponNotFound,
    CouponTaken,
    ShippingMethodNotFound,
    TooManyShippingMethods,
)
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page

Methods = Mapping[str, ShippingMethod]


class Terms:
    def __init__(self, platform: Platform, database: Database) -> None:
        self._platform = platform
        self._database = database
        self._methods: Recent[Methods] = Recent(self._load_methods, platform.clock)

    # --- ways of shipping ---------------------------------------------------------------------------------------

    async def methods(self, merchant_id: int) -> Methods:
        """By code: the merchant's own, or the standard one if there are none. At most a second behind."""
        return (await self._methods.get((merchant_id,)))[merchant_id]

    async def _load_methods(self, merchant_ids: Sequence[int]) -> Mapping[int, Methods]:
        rows = await self._database.read(lambda tx: terms_store.methods_of(tx, merchant_ids))
        found: dict[int, dict[str, ShippingMethod]] = {merchant_id: {} for merchant_id in merchant_ids}
        for method in rows:
            found[method.merchant_id][method.code] = method
        for merchant_id, own in found.items():
            if not own:
                standard = standard_method(merchant_id)
                own[standard.code] = standard
        return found

    async def put_method(self, principal: Principal, method: ShippingMethod) -> ShippingMethod:
        """Lays down a way of shipping, or changes it. Carts see it within a second.

        Raises Forbidden, ShippingMethodInvalid, TooManyShippingMethods.
        """
        _check_own(principal, method.merchant_id)
        checked_method(method)

        def work(tx: Tx) -> None:
            terms_store.put_method(tx, method)
            if terms_store.count_methods(tx, method.merchant_id) > METHODS_MAX:
                raise TooManyShippingMethods(at_most=METHODS_MAX)

        await self._database.write(work)
        self._methods.forget(method.merchant_id)
        return method

    async def delete_method(self, principal: Principal, merchant_id: int, code: str) -> None:
        """Raises Forbidden, ShippingMethodNotFound."""
        _check_own(principal, merchant_id)
        if not await self._database.write(lambda tx: terms_store.delete_method(tx, merchant_id, code)):
            raise ShippingMethodNotFound
        self._methods.forget(merchant_id)

    # --- coupons ------------------------------------------------------------------------------------------------

    async def create_coupon(self, principal: Principal, merchant_id: int, key: str, new: NewCoupon) -> Coupon:
        """Raises Forbidden, CouponInvalid, CouponTaken, IdempotencyKeyReused."""
        _check_own(principal, merchant_id)
        checked_coupon(new)
        now_ms = self._platform.clock.now_ms()

        def create(tx: Tx) -> Coupon:
            coupon = Coupon(
                **asdict(new), id=self._platform.ids.next(merchant_id), merchant_id=merchant_id, created_ms=now_ms
            )
            if not terms_store.add_coupon(tx, coupon):
                raise CouponTaken(code=new.code)
            return coupon

        scope = f"coupon:{merchant_id}:{principal.account_id}"
        return await self._database.write(lambda tx: once(tx, scope, key, new, Coupon, now_ms, lambda: create(tx)))

    async def coupons(self, principal: Principal, merchant_id: int, before: int | None, limit: int) -> Page[Coupon]:
        """A merchant's coupons and how often each is used, newest first. Raises Forbidden."""
        _check_own(principal, merchant_id)
        found = await self._database.read(
            lambda tx: terms_store.coupons_of(tx, merchant_id, before or ID_MAX, limit + 1)
        )
        more = len(found) > limit
        return Page(found[:limit], found[limit - 1].id if more else None)

    async def coupon(self, merchant_id: int, code: str) -> Coupon:
        """Raises CouponNotFound."""
        found = await self._database.read(lambda tx: terms_store.coupon_of_code(tx, merchant_id, code))
        if found is None:
            raise CouponNotFound
        return found

    async def close(self) -> None:
        await self._methods.close()


def _check_own(principal: Principal, merchant_id: int) -> None:
    if principal.role != "admin" and (principal.role != "merchant" or principal.account_id != merchant_id):
        raise Forbidden("only the merchant or an admin may do that")
