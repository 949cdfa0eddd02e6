"""A shop that is paid through a real payment simulator, to test on."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec
import sqlalchemy as sa
from litestar import Litestar, Request, Response
from uvicorn.config import Config

from doorbuster.contexts.payments.callbacks import Door, simulator_door, stripe_door
from doorbuster.contexts.payments.http import routes
from doorbuster.contexts.payments.model import Intent, Pace, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import MadeRefund, Opened, Period, Provider, StatementLine, StatementPage
from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.simulator import PaymentSimulator
from doorbuster.contexts.payments.store.tables import ledger_entries, payments, refunds, webhook_events
from doorbuster.contexts.payments.stripe_protocol import PaymentIntentsProvider
from doorbuster.contexts.payments.till import Till
from doorbuster.contracts.audit import Check
from doorbuster.contracts.orders import RefundRequested
from doorbuster.contracts.payments import Payment, PaymentRefunded
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import ShopError, Unavailable
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.options import STRIPE_KEY_DEFAULT
from doorbuster.lab.payment_simulator.server import EmbeddedServer
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.http.problems import problem_of
from doorbuster.platform.sql.database import Database

T = TypeVar("T")

SECRET = "the secret of the tests"
PRICE = Money(1990, "CNY")
CUSTOMER = 77
RELAYED_MAX = 50
TABLES = (payments, webhook_events, refunds, ledger_entries, outbox)


class SimulatorDesk:
    """The shopper's and the tester's side of a running simulator."""

    def __init__(self, process: SimulatorProcess) -> None:
        self.process = process
        # Loading certificates for each client would take longer than the tests; everything here is plain http.
        self.client = httpx.AsyncClient(base_url=process.base_url, timeout=20, verify=False)

    async def confirm(self, payment: Payment, outcome: str = "success") -> None:
        """What the shopper's browser does, as often as it takes."""
        assert payment.checkout_url is not None
        path = payment.checkout_url.removeprefix(self.process.base_url)
        await self._insist(f"{path}/confirm", {"outcome": outcome})

    async def cancel(self, payment_id: int) -> None:
        await self._insist(f"/v1/intents/{payment_id}/cancel", {})

    async def _insist(self, path: str, body: dict[str, object]) -> None:
        for _ in range(20):
            try:
                response = await self.client.post(path, json=body)
            except httpx.TransportError:
                continue
            if response.status_code < 500:
                return
        raise AssertionError(f"no answer from {path}")

    async def misbehave(self, **settings: object) -> None:
        response = await self.client.put("/control/misbehaviour", json=settings)
        assert response.status_code == 200, response.text

    async def intent(self, payment_id: int) -> dict[str, Any] | None:
        response = await self.client.get(f"/v1/intents/{payment_id}")
        return response.json() if response.status_code == 200 else None

    async def statement(self, payment_id: int | None = None) -> list[dict[str, Any]]:
        """All lines, or those of one payment."""
        lines: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await self.client.get("/v1/statement", params={"limit": "500", **cursor})).json()
            lines += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = {"after": page["next_cursor"]}
        return [line for line in lines if payment_id is None or line["payment_id"] == str(payment_id)]

    async def stats(self) -> dict[str, Any]:
        return (await self.client.get("/control/stats")).json()


class Passing:
    """A provider whose calls all go through to another one."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self._provider = provider

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        return await self._provider.create_intent(payment, method)

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        return await self._provider.get_intent(payment)

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        return await self._provider.cancel_intent(payment)

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        await self._provider.refund(refund, payment)

    async def made_refunds(self, payment: PaymentRecord) -> Sequence[MadeRefund]:
        return await self._provider.made_refunds(payment)

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        return await self._provider.statement(after, limit, period)

    async def close(self) -> None:
        await self._provider.close()


class Since(Passing):
    """Leaves out of the statement what other tests paid at the same simulator before."""

    def __init__(self, provider: Provider, first_id: int) -> None:
        super().__init__(provider)
        self._first_id = first_id

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        page = await super().statement(after, limit, period)
        lines = tuple(line for line in page.lines if int(line.payment_id) >= self._first_id)
        return StatementPage(lines, page.next_after)


@dataclass
class Shop:
    service: PaymentsService
    till: Till
    database: Database
    platform: Platform
    clock: ManualClock
    desk: SimulatorDesk

    def order_id(self) -> int:
        return self.platform.ids.next(CUSTOMER)

    async def open(
        self, key: str = "key", order_id: int | None = None, amount: Money = PRICE, method: str | None = None
    ) -> Payment:
        return await self.service.create(order_id or self.order_id(), CUSTOMER, amount, key, method)

    async def captured(self) -> Payment:
        """A payment that is captured here and at the provider."""
        payment = await self.open()
        await self.desk.confirm(payment)
        await self.call_back(payment)
        return payment

    async def call_back(self, payment: Payment, kind: str = "payment.captured", **changes: object) -> None:
        """Delivers a callback signed by the provider."""
        body = await self.callback(payment, kind, **changes)
        await self.deliver(body)

    async def callback(self, payment: Payment, kind: str = "payment.captured", **changes: object) -> bytes:
        row = await self.row(payment.id)
        data = {
            "payment_id": str(row.id),
            "order_id": str(row.order_id),
            "reference": row.reference,
            "amount": row.amount,
            "currency": row.currency,
            "refund_id": None,
        }
        event = {"id": f"evt_{kind}_{row.id}", "type": kind, "created": self.clock.now_ms(), "data": data}
        for name, value in changes.items():
            (event if name in event else data)[name] = value
        return msgspec.json.encode(event)

    async def deliver(self, body: bytes, at_ms: int | None = None, secret: str = SECRET) -> None:
        signature = sign((secret.encode(),), (at_ms or self.clock.now_ms()) // 1000, body)
        await self.service.receive_webhook("simulator", signature, body)

    async def request_refund(self, payment: Payment, cause: str = "customer", **changes: Any) -> None:
        """What the relay does with an event of the orders: it comes again when the database was not there."""
        event = RefundRequested(payment.order_id, payment.id, payment.amount, cause)
        event = msgspec.structs.replace(event, **changes)
        envelope = Envelope("orders", 1, self.clock.now_ms(), event)
        for _ in range(RELAYED_MAX):
            try:
                return await self.database.write(lambda tx: self.service.refunding.request(tx, [envelope]))
            except Unavailable:
                await asyncio.sleep(0.1)
        raise AssertionError("the database stays away")

    async def statement(self) -> list[StatementLine]:
        """All that the provider says it has booked, in no order."""
        (provider,) = self.till.providers.values()
        lines: list[StatementLine] = []
        after: str | None = None
        while True:
            page = await provider.statement(after, 500)
            lines += page.lines
            after = page.next_after
            if after is None:
                return lines

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def row(self, payment_id: int) -> sa.Row[Any]:
        (row,) = await self.rows(payments, payments.c.id == payment_id)
        return row

    async def status(self, payment: Payment) -> str:
        return (await self.row(payment.id)).status

    async def event_types(self) -> list[str]:
        return [row.type for row in await self.rows(outbox)]

    async def refunds_told(self) -> list[PaymentRefunded]:
        rows = await self.rows(outbox, outbox.c.type == "payments.refunded")
        return [msgspec.json.decode(row.payload, type=PaymentRefunded) for row in rows]

    async def ledger(self, payment: Payment) -> list[tuple[str, str, int, str]]:
        rows = await self.rows(ledger_entries, ledger_entries.c.payment_id == payment.id)
        return sorted((row.kind, row.account, row.amount, row.currency) for row in rows)

    async def everything(self) -> list[Sequence[sa.Row[Any]]]:
        """All rows of all tables: to prove that nothing was written."""
        return [await self.rows(table) for table in TABLES]

    async def checks(self) -> dict[str, Check]:
        return {check.name: check for check in await self.service.audit()}

    async def tamper(self, statement: sa.Executable) -> None:
        """Changes rows behind the service's back."""
        await self.database.write(lambda tx: tx.execute(statement))


def build_shop(
    platform: Platform,
    clock: ManualClock,
    database: Database,
    simulator: SimulatorProcess,
    *,
    webhook_url: str = "http://127.0.0.1:9/v1/payments/webhooks/simulator",
    pace: Pace | None = None,
    wrap: Callable[[Provider], Provider] | None = None,
    timeout_s: float = 5.0,
    secrets: Sequence[str] = (SECRET,),
    protocol: str = "simulator",
) -> Shop:
    provider: Provider
    if protocol == "stripe":
        base_url = f"{simulator.base_url}/stripe"
        provider = PaymentIntentsProvider(base_url, STRIPE_KEY_DEFAULT, clock, timeout_s, first_pause_s=0.01)
    else:
        provider = PaymentSimulator(simulator.base_url, webhook_url, timeout_s, first_pause_s=0.01)
    provider = Since(provider, platform.ids.next()) if wrap is None else wrap(provider)
    till = Till(database, clock, platform.ids, platform.wakeups, {protocol: provider}, pace or Pace())
    service = PaymentsService(till, doors(secrets))
    return Shop(service, till, database, platform, clock, SimulatorDesk(simulator))


def doors(secrets: Sequence[str] = (SECRET,)) -> dict[str, Door]:
    verifier = Verifier(secrets, 300)
    return {"simulator": simulator_door(verifier), "stripe": stripe_door(Verifier(secrets, 300, other_schemes=True))}


async def close_shop(shop: Shop) -> None:
    await shop.service.close()
    await shop.desk.client.aclose()


async def all_at_once(call: Callable[[int], Awaitable[T]], count: int) -> list[T | Exception]:
    """`count` calls behind a gate that opens for all; outcomes in order."""
    gate = asyncio.Event()

    async def one(number: int) -> T | Exception:
        await gate.wait()
        try:
            return await call(number)
        except Exception as error:  # noqa: BLE001 - an outcome like any other
            return error

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*tasks)


def of_type(outcomes: Sequence[object], kind: type[T]) -> list[T]:
    return [outcome for outcome in outcomes if isinstance(outcome, kind)]


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    """Waits for something to become true."""
    deadline_s = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline_s, "it did not become true in time"
        await asyncio.sleep(0.02)


def real_now_ms() -> int:
    """Callbacks are signed by a process that lives in real time."""
    return time.time_ns() // 1_000_000


def small_api(service: PaymentsService) -> Litestar:
    """The routes, and errors as the edge answers them, without the rest of the edge."""

    def refuse(_request: Request[Any, Any, Any], error: ShopError) -> Response[bytes]:
        status, headers, body = problem_of(error, "request")
        fields = {name.decode(): value.decode() for name, value in headers}
        return Response(body, status_code=status, headers=fields, media_type=fields.pop("content-type"))

    return Litestar(routes(service), exception_handlers={ShopError: refuse}, logging_config=None, openapi_config=None)


class Front:
    """The routes of a shop on a real HTTP server, for callbacks that are really sent."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._serving: asyncio.Task[None] | None = None
        self._server: EmbeddedServer | None = None

    @property
    def webhook_url(self) -> str:
        return self.webhook_url_of("simulator")

    def webhook_url_of(self, protocol: str) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1/payments/webhooks/{protocol}"

    async def open(self, service: PaymentsService) -> None:
        self._server = EmbeddedServer(
            Config(small_api(service), log_config=None, access_log=False, lifespan="off", ws="none")
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        self._socket.close()
