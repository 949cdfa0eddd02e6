"""Use cases of checkout: fill a cart, see what it costs, place it, follow that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from doorbuster.contexts.checkout import books, merging, store
from doorbuster.contexts.checkout.desk import Desk
from doorbuster.contexts.checkout.merging import Merged
from doorbuster.contexts.checkout.model import (
    OPEN_CARTS_MAX,
    Cart,
    CartLine,
    Checkout,
    Content,
    Delivery,
    Guest,
    NewCart,
    PlaceRequest,
    Quote,
    Shown,
    checked_destination,
    checked_email,
    summed,
    with_units,
    without,
)
from doorbuster.contexts.checkout.pricing import chosen_method, draft_of, quote
from doorbuster.contexts.checkout.recent import Recent
from doorbuster.contexts.checkout.saga import LEASE_MS, Saga, refusal_of
from doorbuster.contexts.checkout.terms import Terms
from doorbuster.contexts.checkout.writing import Create
from doorbuster.contracts.audit import FACTS_PAGE, Check
from doorbuster.contracts.catalog import Prices, SkuFacts
from doorbuster.contracts.checkout import (
    CartChanged,
    CartClosed,
    CartEmpty,
    CartNotFound,
    CheckoutFact,
    CheckoutNotFound,
    NotForSale,
    TooManyCarts,
)
from doorbuster.contracts.inventory import Inventory
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.kernel.request_context import current_cause
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import fingerprint, once
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "checkout"


class CheckoutService:
    """Satisfies `contracts.audit.Auditable` and `contracts.checkout.AuditsCheckouts`."""

    def __init__(
        self,
        platform: Platform,
        database: Database,
        ring: KeyRing,
        catalog: Prices,
        inventory: Inventory,
        desk: Desk,
        terms: Terms,
        saga: Saga,
    ) -> None:
        self._platform = platform
        self._settings = platform.settings.checkout
        self._database = database
        self._ring = ring
        self._inventory = inventory
        self._facts: Recent[SkuFacts] = Recent(catalog.skus, platform.clock)
        self._desk = desk
        self._saga = saga
        self.terms = terms
        self._driving: dict[int, asyncio.Future[None]] = {}

    # --- carts --------------------------------------------------------------------------------------------------

    async def create(
        self, principal: Principal | None, key: str | None, new: NewCart, deadline: Deadline | None = None
    ) -> Shown:
        """A new cart. Who has no token becomes a guest by it, and gets one; then there is nobody a key could belong to.

        Raises NotForSale, AnotherMerchant, CurrencyMismatch, CartFull, DeliveryInvalid, ShippingMethodNotFound,
        TooManyCarts, IdempotencyKeyReused, Overloaded, Unavailable, OutcomeUnknown.
        """
        content = await self._filled(Content(), new.lines)
        if new.delivery is not None:
            content = await self._delivered(content, new.delivery)
        owner_id = self._platform.ids.next_owner() if principal is None else principal.account_id
        now_ms = self._platform.clock.now_ms()
        cart = Cart(self._platform.ids.next(owner_id), owner_id, "open", 1, content, now_ms)
        if principal is None:
            await self._desk.create(Create(cart), deadline)
            guest = self._new_guest(owner_id)
            return replace(await self._shown(Principal(owner_id, "guest"), cart), guest=guest)
        assert key is not None, "the face demands a key of everybody who has a token"
        return await self._shown(principal, await self._created(cart, key, fingerprint(new), deadline))

    async def _created(self, cart: Cart, key: str, digest: bytes, deadline: Deadline | None) -> Cart:
        """The cart, or the one that the same key has made before, as it stands now."""
        owner_id = cart.owner_id
        have = await self._database.read(lambda tx: store.open_carts_of(tx, owner_id, OPEN_CARTS_MAX))
        full = len(have) >= OPEN_CARTS_MAX
        if not full and await self._desk.create(Create(cart, key, digest), deadline):
            return cart
        made = await self._database.read(lambda tx: store.cart_of_key(tx, owner_id, key))
        if made is None:
            raise TooManyCarts(at_most=OPEN_CARTS_MAX)
        if made[1] != digest:
            raise IdempotencyKeyReused
        return made[0]

    def _new_guest(self, guest_id: int) -> Guest:
        lifetime_s = self._settings.guest_token_s
        return Guest(guest_id, self._ring.sign(Principal(guest_id, "guest"), lifetime_s), lifetime_s)

    async def _filled(self, content: Content, lines: Sequence[CartLine]) -> Content:
        facts = await self._facts.get({line.sku_id for line in lines})
        for line in summed(lines):
            content = with_units(content, _known(facts.get(line.sku_id), line.sku_id), line.quantity)
        return content

    async def _delivered(self, content: Content, delivery: Delivery) -> Content:
        destination, email = delivery.destination, delivery.contact_email
        content = replace(
            content,
            destination=None if destination is None else checked_destination(destination),
            contact_email=None if email is None else checked_email(email),
            shipping_method=delivery.shipping_method,
        )
        if content.merchant_id is not None:
            chosen_method(content, await self.terms.methods(content.merchant_id))
        return content

    async def cart(self, principal: Principal, cart_id: int) -> Shown:
        """One's own cart as committed. Raises CartNotFound, also for somebody else's."""
        return await self._shown(principal, _own(principal, await self._desk.read(cart_id)))

    async def carts(self, principal: Principal) -> Sequence[Cart]:
        """One's own open carts, at most OPEN_CARTS_MAX, newest first."""
        return await self._database.read(lambda tx: store.open_carts_of(tx, principal.account_id, OPEN_CARTS_MAX))

    async def set_quantity(self, principal: Principal, cart_id: int, sku_id: int, quantity: int) -> Shown:
        """So many units of a SKU, whatever there were. Raises what `_changed` raises, and what `with_units` does."""
        facts = _known((await self._facts.get((sku_id,))).get(sku_id), sku_id)
        return await self._changed(principal, cart_id, lambda content: with_units(content, facts, quantity))

    async def remove_line(self, principal: Principal, cart_id: int, sku_id: int) -> Shown:
        return await self._changed(principal, cart_id, lambda content: without(content, sku_id))

    async def set_delivery(
        self, principal: Principal, cart_id: int, delivery: Delivery, deadline: Deadline | None = None
    ) -> Shown:
        """Where it goes, how, and whom to write to, in one. Raises DeliveryInvalid, ShippingMethodNotFound."""

        async def attempt(cart: Cart) -> Cart | None:
            content = await self._delivered(_open(_own(principal, cart)).content, delivery)
            changed = cart.changed(content)
            return changed if await self._desk.change(changed, deadline) else None

        return await self._shown(principal, await self._desk.on_cart(cart_id, attempt))

    async def set_coupon(self, principal: Principal, cart_id: int, code: str) -> Shown:
        """Whether it applies is for the quote to say. Raises CouponNotFound, CartEmpty."""

        async def attempt(cart: Cart) -> Cart | None:
            content = _open(_own(principal, cart)).content
            if content.merchant_id is None:
                raise CartEmpty
            await self.terms.coupon(content.merchant_id, code)
            changed = cart.changed(replace(content, coupon_code=code))
            return changed if await self._desk.change(changed) else None

        return await self._shown(principal, await self._desk.on_cart(cart_id, attempt))

    async def remove_coupon(self, principal: Principal, cart_id: int) -> Shown:
        return await self._changed(principal, cart_id, lambda content: replace(content, coupon_code=None))

    async def _changed(self, principal: Principal, cart_id: int, change: Callable[[Content], Content]) -> Shown:
        """Raises CartNotFound, CartClosed, Overloaded, Unavailable, OutcomeUnknown, what `change` raises."""

        async def attempt(cart: Cart) -> Cart | None:
            changed = cart.changed(change(_open(_own(principal, cart)).content))
            return changed if await self._desk.change(changed) else None

        return await self._shown(principal, await self._desk.on_cart(cart_id, attempt))

    async def merge(self, principal: Principal, key: str, guest: Principal) -> tuple[Merged, Sequence[Cart]]:
        """A guest who has logged in: their open carts become those of the account. See `merging`.

        Returns what did not fit, the same for the same key, and the open carts as they are now.
        Raises TooManyCarts, IdempotencyKeyReused.
        """
        now_ms = self._platform.clock.now_ms()
        scope = f"merge:{principal.account_id}"

        def work(tx: Tx) -> Merged:
            return once(
                tx,
                scope,
                key,
                guest,
                Merged,
                now_ms,
                lambda: merging.merge(tx, guest.account_id, principal.account_id, now_ms),
            )

        done = await self._database.write(work)
        for cart_id in done.cart_ids:
            self._desk.forget(cart_id)
        return done, await self.carts(principal)

    # --- quotes -------------------------------------------------------------------------------------------------

    async def quote(self, principal: Principal, cart_id: int) -> tuple[Cart, Quote, dict[int, int]]:
        """What one's own cart costs, and how many units of each SKU there are.

        Raises CartNotFound, CartClosed, CartEmpty, NotForSale, CurrencyMismatch, ShippingMethodNotFound,
        CouponNotFound, CouponNotApplicable, NothingToPay, TotalTooLarge, Unavailable.
        """
        cart = _open(_own(principal, await self._desk.read(cart_id)))
        priced = await self._quote(principal, cart)
        available = await self._inventory.available([line.sku_id for line in priced.lines])
        return cart, priced, dict(available)

    async def _quote(self, principal: Principal, cart: Cart) -> Quote:
        content = cart.content
        if content.merchant_id is None:
            raise CartEmpty
        facts = await self._facts.get([line.sku_id for line in content.lines])
        method = chosen_method(content, await self.terms.methods(content.merchant_id))
        code = content.coupon_code
        coupon = None if code is None else await self.terms.coupon(content.merchant_id, code)
        now_ms = self._platform.clock.now_ms()
        return quote(cart, facts, method, coupon, is_guest=principal.role == "guest", now_ms=now_ms)

    async def _shown(self, principal: Principal, cart: Cart) -> Shown:
        if cart.status != "open":
            return Shown(cart, None)
        try:
            return Shown(cart, await self._quote(principal, cart))
        except Busy:
            raise
        except ShopError:
            return Shown(cart, None)

    # --- placing ------------------------------------------------------------------------------------------------

    async def place(
        self, principal: Principal, cart_id: int, key: str, request: PlaceRequest, deadline: Deadline | None = None
    ) -> Checkout:
        """Turns the cart into an order: placed, or still placing if a neighbour is busy; then a sweeper goes on.

        The same key and request get the same checkout; a failed one frees its key. Raises CartNotFound, CartClosed
        (ordered with another key), CartChanged, what `quote` raises, DestinationMissing, CouponUsedUp, OutOfStock,
        CheckoutFailed, IdempotencyKeyReused, Overloaded, Unavailable, OutcomeUnknown.
        """
        digest = fingerprint(request)

        async def attempt(cart: Cart) -> tuple[Checkout, bool] | None:
            """The checkout, and whether it has just begun."""
            if _own(principal, cart).status != "open":
                return await self._known_checkout(cart, key, digest), False
            priced = await self._quote(principal, cart)
            if priced.fingerprint != request.quote:
                raise CartChanged(quote=priced.fingerprint, total=priced.total)
            checkout = self._checkout(cart, priced, key, digest, request.note)
            due_ms = checkout.begun_ms + LEASE_MS
            if not await self._desk.begin(cart.ordered(checkout.id), checkout, due_ms, deadline):
                return None
            return checkout, True

        checkout, has_begun = await self._desk.on_cart(cart_id, attempt)
        if has_begun:
            crash_point("checkout.begun")
            return await self._drive(checkout)
        return await self._followed(checkout)

    def _checkout(self, cart: Cart, priced: Quote, key: str, digest: bytes, note: str) -> Checkout:
        now_ms = self._platform.clock.now_ms()
        order_id = self._platform.ids.next(cart.owner_id)
        draft = draft_of(cart, priced, order_id, note, now_ms, self._settings.pay_within_s * 1000, current_cause())
        total = Money(priced.total, priced.currency)
        return Checkout(
            order_id, cart.id, cart.owner_id, "placing", key, digest, total, priced.coupon, draft, 1, now_ms
        )

    async def _drive(self, checkout: Checkout) -> Checkout:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._driving[checkout.id] = done
        try:
            return await self._saga.drive(checkout)
        finally:
            del self._driving[checkout.id]
            done.set_result(None)

    async def _known_checkout(self, cart: Cart, key: str, digest: bytes) -> Checkout:
        """Of a cart that is closed. Raises CartClosed, IdempotencyKeyReused."""
        if cart.order_id is None:
            raise CartClosed("this cart was merged into another one")
        checkout = await self._saga.row(cart.order_id)
        if checkout.key != key:
            raise CartClosed(order_id=checkout.id)
        if checkout.digest != digest:
            raise IdempotencyKeyReused
        return checkout

    async def _followed(self, checkout: Checkout) -> Checkout:
        """The same request again: waits for its driver if that is in this process, and answers as that did."""
        driving = self._driving.get(checkout.id)
        if driving is not None:
            await asyncio.shield(driving)
            checkout = await self._saga.row(checkout.id)
        if checkout.stage == "failed":
            raise refusal_of(checkout)
        return checkout

    async def checkout(self, principal: Principal, order_id: int) -> Checkout:
        """One's own; support and admins see all. Raises CheckoutNotFound."""
        found = await self._saga.row(order_id)
        if found.customer_id != principal.account_id and principal.role not in ("support", "admin"):
            raise CheckoutNotFound
        return found

    # --- books --------------------------------------------------------------------------------------------------

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        now_ms = self._platform.clock.now_ms()
        limit_ms = self._settings.placing_limit_s * 1000
        return await self._database.read(lambda tx: books.checks(tx, now_ms, limit_ms))

    async def checkout_facts(self, after: int = 0) -> AsyncIterator[Sequence[CheckoutFact]]:
        """See contracts.checkout.AuditsCheckouts."""
        while True:
            page = await self._database.read(lambda tx, after=after: store.page_of_facts(tx, after, FACTS_PAGE))
            if page:
                yield page
                after = page[-1].order_id
            if len(page) < FACTS_PAGE:
                return

    async def checkout_facts_of(self, order_ids: Sequence[int]) -> Sequence[CheckoutFact]:
        """See contracts.checkout.AuditsCheckouts."""
        return await self._database.read(lambda tx: store.facts_of(tx, order_ids))

    async def close(self) -> None:
        """Carries through what was begun, and takes nothing more."""
        await self._desk.close()
        await self._saga.close()
        await self._facts.close()
        await self.terms.close()


def _own(principal: Principal, cart: Cart) -> Cart:
    if cart.owner_id != principal.account_id:
        raise CartNotFound
    return cart


def _open(cart: Cart) -> Cart:
    if cart.status == "open":
        return cart
    raise CartClosed if cart.order_id is None else CartClosed(order_id=cart.order_id)


def _known(facts: SkuFacts | None, sku_id: int) -> SkuFacts:
    if facts is None:
        raise NotForSale(sku_ids=[str(sku_id)])
    return facts
