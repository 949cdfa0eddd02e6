"""Sends what the outbox holds: signed, a bounded number at once, with bounded retries."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from msgspec import Struct

from doorbuster.lab.payment_simulator import outbox
from doorbuster.lab.payment_simulator.errors import StorageFailedError
from doorbuster.lab.payment_simulator.forgeries import forge
from doorbuster.lab.payment_simulator.outbox import Delivery
from doorbuster.lab.payment_simulator.signatures import HEADER_NAMES, sign
from doorbuster.lab.payment_simulator.stored import Protocol
from doorbuster.lab.payment_simulator.webhook_client import WebhookClient
from doorbuster.lab.payment_simulator.writer import Writer

IDLE_LOOK_S = 1.0  # a look at the clock now and then, in case it was set back
STORE_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


class DeliveryPolicy(Struct, frozen=True):
    """Bounds of delivering; after try n the next one waits up to ``base * 2**(n-1)``, at most ``cap``."""

    concurrent_max: int = 32
    tries_max: int = 12
    retry_base_ms: int = 200
    retry_cap_ms: int = 60_000
    timeout_s: float = 5.0

    def backoff_ms(self, tries: int, jitter: float) -> int:
        """The wait after the ``tries``-th failure; ``jitter`` in 0..1 takes away up to half of it."""
        full = min(self.retry_cap_ms, self.retry_base_ms * 2 ** (tries - 1))
        return int(full * (1 - jitter / 2))


class Deliverer:
    """Reads due deliveries and sends them until stopped; what is not finished stays in the store."""

    def __init__(
        self,
        writer: Writer,
        secrets: Mapping[Protocol, tuple[bytes, ...]],
        policy: DeliveryPolicy,
        now_ms: Callable[[], int],
        seed: int,
    ) -> None:
        self._writer = writer
        self._secrets = secrets
        self._policy = policy
        self._now_ms = now_ms
        self._jitter = random.Random(seed)
        self._client = WebhookClient(policy.timeout_s)
        self._flying: dict[int, Delivery] = {}
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something may have become due."""
        self._woken.set()

    def stop(self) -> None:
        """Start nothing more; ``run`` returns when the deliveries on their way are over."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Deliver until ``stop``."""
        try:
            async with asyncio.TaskGroup() as flights:
                while not self._stopping:
                    await self._look(flights)
        finally:
            self._client.close()

    async def _look(self, flights: asyncio.TaskGroup) -> None:
        self._woken.clear()
        wait_s = IDLE_LOOK_S
        if len(self._flying) < self._policy.concurrent_max:
            try:
                wait_s = await self._start_due(flights)
            except StorageFailedError:
                _log.exception("the outbox cannot be read; looking again in %g s", STORE_PAUSE_S)
                wait_s = STORE_PAUSE_S
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _start_due(self, flights: asyncio.TaskGroup) -> float:
        """Start as many as may fly; returns the seconds until another becomes due."""
        now_ms = self._now_ms()
        limit = 3 * self._policy.concurrent_max  # enough to see past those that already fly
        due = await self._writer.run(lambda store: outbox.find_due(store, now_ms, limit), patient=True)
        for delivery in due.deliveries:
            if len(self._flying) >= self._policy.concurrent_max or self._stopping:
                break
            if not self._must_wait(delivery):
                self._flying[delivery.id] = delivery
                flights.create_task(self._fly(delivery))
        if due.next_due_ms is None:
            return IDLE_LOOK_S
        return min(IDLE_LOOK_S, max(0.001, (due.next_due_ms - self._now_ms()) / 1000))

    def _must_wait(self, delivery: Delivery) -> bool:
        """Genuine events of one payment go one after another; duplicates and forgeries race them."""
        if delivery.id in self._flying:
            return True
        return delivery.kind == "genuine" and any(
            other.kind == "genuine" and other.payment_id == delivery.payment_id for other in self._flying.values()
        )

    async def _fly(self, delivery: Delivery) -> None:
        try:
            status = await self._send(delivery)
            await self._record(delivery, status)
        except StorageFailedError:
            _log.exception("delivery %d cannot be recorded; it will be sent again", delivery.id)
            await asyncio.sleep(STORE_PAUSE_S)
        finally:
            del self._flying[delivery.id]
            self._woken.set()

    async def _send(self, delivery: Delivery) -> int | None:
        """The HTTP status, or None when the receiver could not be reached in time."""
        at_s = self._now_ms() // 1000
        secrets = self._secrets[delivery.protocol]
        if delivery.forgery is None:
            body, signature = delivery.body, sign(secrets, at_s, delivery.body)
        else:
            body, signature = forge(delivery.forgery, delivery.body, secrets, at_s)
        try:
            return await self._client.post(delivery.url, body, HEADER_NAMES[delivery.protocol], signature)
        except OSError as error:  # TimeoutError is one
            _log.debug("delivery %d failed: %s", delivery.id, error)
            return None

    async def _record(self, delivery: Delivery, status: int | None) -> None:
        accepted = status is not None and 200 <= status < 300
        now_ms = self._now_ms()
        if delivery.kind == "forged":  # an attacker tries once
            outcome = "unreached" if status is None else "accepted" if accepted else "refused"
            await self._writer.run(lambda store: outbox.finish(store, delivery, outcome, now_ms), patient=True)
        elif accepted:
            await self._writer.run(lambda store: outbox.finish(store, delivery, "delivered", now_ms), patient=True)
        else:
            await self._record_failure(delivery, now_ms)

    async def _record_failure(self, delivery: Delivery, now_ms: int) -> None:
        tries = delivery.tries + 1
        if tries >= self._policy.tries_max:
            await self._writer.run(lambda store: outbox.abandon(store, delivery), patient=True)
            return
        due_ms = now_ms + self._policy.backoff_ms(tries, self._jitter.random())
        await self._writer.run(lambda store: outbox.postpone(store, delivery, due_ms), patient=True)
