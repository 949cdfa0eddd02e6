"""Notices become messages: who it is, how they are reached, in which language and by which channels.

Neighbours are asked outside any transaction; what was written before a crash is not written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from msgspec import Struct

from doorbuster.contexts.notifications import store
from doorbuster.contexts.notifications.model import (
    Draft,
    Endpoint,
    Notice,
    Preferences,
    is_email,
    pause_ms,
)
from doorbuster.contexts.notifications.posting import Addressed, post
from doorbuster.contexts.notifications.templates import Shown, Writer
from doorbuster.contracts.accounts import Accounts, Contact
from doorbuster.contracts.notifications import Notified
from doorbuster.contracts.orders import Order, Orders
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "notifications"
PAGE = 100
PAUSE_S = 0.25
OUTAGE_PAUSE_S = 2.0

log = structlog.get_logger(NAME)


class OrderMissing(Exception):
    """The order of a notice is not known to orders."""


class Known(Struct, frozen=True):
    """What was found out about a page of notices."""

    orders: Mapping[int, Order]
    contacts: Mapping[int, Contact]
    wishes: Mapping[int, Preferences]
    endpoints: Mapping[int, Sequence[Endpoint]]


class Addressing:
    def __init__(
        self,
        platform: Platform,
        database: Database,
        accounts: Accounts,
        orders: Orders,
        writer: Writer,
        dice: Callable[[], float],
    ) -> None:
        self._platform = platform
        self._settings = platform.settings.notifications
        self._database = database
        self._accounts = accounts
        self._orders = orders
        self._writer = writer
        self._dice = dice

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            pause_s = PAUSE_S
            try:
                if await self.step() == PAGE:
                    continue
            except Busy as outage:
                log.warning("addressing waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def step(self) -> int:
        """Addresses a page of notices; returns how many it looked at. Raises Unavailable."""
        now_ms = self._platform.clock.now_ms()
        page = await self._database.read(lambda tx: store.waiting(tx, now_ms, PAGE))
        if not page:
            return 0
        known = await self._find_out(page)
        addressed: list[Addressed] = []
        failed: list[tuple[Notice, str]] = []
        for notice in page:
            try:
                drafts = self.drafts(notice, known)
            except Exception as error:
                log.exception("notice cannot be addressed", source=notice.source, seq=notice.seq, part=notice.part)
                failed.append((notice, repr(error)))
                continue
            addressed.append((notice, [(self._platform.ids.next(draft.account_id), draft) for draft in drafts]))

        def work(tx: Tx) -> None:
            told = [Notified(*pushed) for pushed in post(tx, addressed, now_ms)]
            for notice, error in failed:
                again_ms = now_ms + pause_ms(notice.attempts + 1, self._dice())
                last = notice.attempts + 1 >= self._settings.attempts_max
                store.postpone(tx, notice, again_ms, error, dead=last)
            emit(tx, told, now_ms)
            crash_point("notifications.addressed-not-committed")

        await self._database.write(work)
        crash_point("notifications.addressed")
        self._platform.wakeups.wake(NAME)
        return len(page)

    async def _find_out(self, page: Sequence[Notice]) -> Known:
        order_ids = sorted({each.facts.order_id for each in page if each.facts.order_id is not None})
        orders = {order.id: order for order in await self._orders.find_many(order_ids)} if order_ids else {}
        people = {each.account_id for each in page if each.account_id is not None}
        people |= {order.merchant_id for order in orders.values()}
        contacts = {each.account_id: each for each in await self._accounts.contacts(sorted(people))}
        wishes, endpoints = await self._database.read(
            lambda tx: (store.preferences_of(tx, people), store.endpoints_of(tx, people))
        )
        by_account: dict[int, list[Endpoint]] = {}
        for endpoint in endpoints:
            by_account.setdefault(endpoint.account_id, []).append(endpoint)
        return Known(orders, contacts, wishes, by_account)

    def drafts(self, notice: Notice, known: Known) -> list[Draft]:
        """A message per channel that its recipient, or the shop, has chosen and can be reached by.

        Raises OrderMissing.
        """
        order = None
        if notice.facts.order_id is not None:
            order = known.orders.get(notice.facts.order_id)
            if order is None:
                raise OrderMissing(notice.facts.order_id)
        account_id = notice.account_id
        if account_id is None:
            if order is None:
                raise OrderMissing
            account_id = order.merchant_id
        contact = known.contacts.get(account_id)
        wishes = known.wishes.get(account_id) or Preferences(self._settings.locale)
        total = None if order is None else order.total
        name = "" if contact is None else contact.name
        shown = self._writer.write(wishes.locale, notice.kind, notice.facts, name, total)
        found: list[Draft] = []
        chosen = wishes.chosen(notice.kind)
        email = _address_of(notice, contact, order)
        if "email" in chosen and email and self._settings.smtp_host:
            content = msgspec.json.encode(self._writer.mail(wishes.locale, shown))
            found.append(Draft("email", account_id, account_id, notice.kind, email, content))
        if "push" in chosen:
            found.append(Draft("push", account_id, account_id, notice.kind, "", _push(notice, shown)))
        if notice.part == "merchant":
            body = _webhook(notice)
            found += [
                Draft("webhook", endpoint.id, account_id, notice.kind, endpoint.url, body)
                for endpoint in known.endpoints.get(account_id, ())
            ]
        if self._settings.wecom_url and notice.kind in self._settings.wecom_kinds:
            ours = self._writer.write(self._settings.locale, notice.kind, notice.facts, name, total)
            found.append(Draft("wecom", 0, 0, notice.kind, "", msgspec.json.encode(ours)))
        return found


def _address_of(notice: Notice, contact: Contact | None, order: Order | None) -> str | None:
    """The account's; a guest has given one with the order."""
    address = contact.email if contact is not None else None
    if address is None and contact is None and order is not None and notice.part == "customer":
        address = order.contact_email
    return address if address is not None and is_email(address) else None


def _what(notice: Notice) -> dict[str, object]:
    facts = notice.facts
    what: dict[str, object] = {}
    if facts.order_id is not None:
        what["order_id"] = str(facts.order_id)
    if facts.amount is not None:
        what["amount"] = facts.amount
    if facts.conversation_id is not None:
        what["conversation_id"] = str(facts.conversation_id)
    if facts.tracking_number:
        what |= {"carrier": facts.carrier, "tracking_number": facts.tracking_number}
    if facts.expires_ms is not None:
        what["expires_at"] = rfc3339(facts.expires_ms)
    return what


def _push(notice: Notice, shown: Shown) -> bytes:
    return msgspec.json.encode(
        {
            "event_id": f"{notice.source}-{notice.seq}",
            "kind": notice.kind,
            "title": shown.subject,
            "text": shown.body,
            "about": _what(notice),
            "at": rfc3339(notice.at_ms),
        }
    )


def _webhook(notice: Notice) -> bytes:
    return msgspec.json.encode(
        {
            "id": f"{notice.source}-{notice.seq}",
            "type": notice.kind.replace("sold-order-", "order.", 1),
            "at": rfc3339(notice.at_ms),
            "data": _what(notice),
        }
    )
