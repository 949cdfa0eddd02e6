"""Use cases of notifications: one's own stream and preferences, merchants' endpoints, dead letters."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from doorbuster.contexts.notifications import books, store
from doorbuster.contexts.notifications.model import DeadMessage, Endpoint, Preferences, Pushed
from doorbuster.contexts.notifications.outgoing import Policy, Resolve, check_endpoint
from doorbuster.contracts.audit import Check
from doorbuster.contracts.notifications import EndpointNotFound, NotificationNotFound, TooManyEndpoints
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page

NAME = "notifications"


class NewEndpoint(Struct, frozen=True):
    url: str


class _Created(Struct, frozen=True):
    """What a key is bound to: the secret is kept in one place only."""

    id: int


class Stream(Struct, frozen=True):
    """A page of one's in-app notifications, newest first. `unread` counts all behind `read_to`."""

    page: Page[Pushed]
    last: int
    read_to: int

    @property
    def unread(self) -> int:
        return self.last - self.read_to


class NotificationsService:
    def __init__(self, platform: Platform, database: Database, hub: Hub, policy: Policy, resolve: Resolve) -> None:
        self._platform = platform
        self._settings = platform.settings.notifications
        self._database = database
        self._policy = policy
        self._resolve = resolve
        self.hub = hub

    async def stream(self, principal: Principal, before: int | None, limit: int) -> Stream:
        """One's own notifications, newest first, with what is unread."""

        def work(tx: Tx) -> tuple[list[Pushed], tuple[int, int]]:
            found = store.pushed_before(tx, principal.account_id, before or ID_MAX, limit + 1)
            return found, store.stream_of(tx, principal.account_id)

        found, (last, read_to) = await self._database.read(work)
        more = len(found) > limit
        return Stream(Page(found[:limit], found[limit - 1].number if more else None), last, read_to)

    async def pushed_after(self, account_id: int, after: int, limit: int) -> Sequence[Pushed]:
        """An account's notifications behind a number, ascending: what a live stream shows."""
        return await self._database.read(lambda tx: store.pushed_after(tx, account_id, after, limit))

    async def read(self, principal: Principal, number: int) -> Stream:
        """Marks one's notifications up to `number` as read. A mark never goes back, and not beyond what is there."""
        await self._database.write(lambda tx: store.mark_read(tx, principal.account_id, number))
        return await self.stream(principal, None, 1)

    async def preferences(self, principal: Principal) -> Preferences:
        found = await self._database.read(lambda tx: store.preferences_of(tx, [principal.account_id]))
        return found.get(principal.account_id) or Preferences(self._settings.locale)

    async def prefer(self, principal: Principal, wished: Preferences) -> Preferences:
        """Replaces one's preferences."""
        await self._database.write(lambda tx: store.put_preferences(tx, principal.account_id, wished))
        return wished

    async def add_endpoint(self, principal: Principal, key: str, url: str) -> Endpoint:
        """A new endpoint with a secret of its own; the same one for the same key.

        Raises EndpointRefused, TooManyEndpoints, IdempotencyKeyReused; EndpointNotFound if the key's was deleted.
        """
        await check_endpoint(self._policy, self._resolve, url)
        now_ms = self._platform.clock.now_ms()
        account_id, at_most = principal.account_id, self._settings.webhook_endpoints_max
        secret = f"whsec_{secrets.token_urlsafe(32)}"
        new = Endpoint(self._platform.ids.next(account_id), account_id, url, secret, now_ms)

        def create(tx: Tx) -> _Created:
            store.lock_account(tx, account_id)
            if len(store.endpoints_of(tx, [account_id])) >= at_most:
                raise TooManyEndpoints(f"at most {at_most}")
            store.add_endpoint(tx, new)
            return _Created(new.id)

        def work(tx: Tx) -> Endpoint | None:
            scope = f"endpoint:{account_id}"
            created = once(tx, scope, key, NewEndpoint(url), _Created, now_ms, lambda: create(tx))
            return store.endpoint(tx, created.id)

        found = await self._database.write(work)
        if found is None:
            raise EndpointNotFound
        return found

    async def endpoints(self, principal: Principal) -> Sequence[Endpoint]:
        """All of one's own; they are few."""
        return await self._database.read(lambda tx: store.endpoints_of(tx, [principal.account_id]))

    async def delete_endpoint(self, principal: Principal, endpoint_id: int) -> None:
        """What is on its way to it is given up. Raises EndpointNotFound, also for somebody else's."""
        if not await self._database.write(lambda tx: store.delete_endpoint(tx, principal.account_id, endpoint_id)):
            raise EndpointNotFound

    async def dead(self, before: int | None, limit: int) -> Page[DeadMessage]:
        """Dead messages of everybody, newest first: for admins."""
        found = await self._database.read(lambda tx: store.dead(tx, before or ID_MAX, limit + 1))
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def replay(self, message_id: int) -> str:
        """Gives a dead message another life; another one is left alone. Returns its status: "due" or "sent".

        Raises NotificationNotFound.
        """
        now_ms = self._platform.clock.now_ms()
        status = await self._database.write(lambda tx: store.replay(tx, message_id, now_ms))
        if status is None:
            raise NotificationNotFound
        self._platform.wakeups.wake(NAME)
        return status

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        now_ms = self._platform.clock.now_ms()
        return await self._database.read(lambda tx: books.checks(tx, now_ms))


def streamed(pushed: Pushed) -> tuple[int, bytes]:
    """A row of a live stream: (cursor, JSON)."""
    return pushed.number, msgspec.json.encode({"number": pushed.number} | msgspec.json.decode(pushed.content))
