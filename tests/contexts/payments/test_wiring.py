"""What the context is built of, and what it is without a provider."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from conftest import OpenDatabase
from contexts.payments.conftest import MIGRATIONS
from contexts.payments.paying_shop import CUSTOMER, PRICE
from doorbuster.contexts.payments.wiring import build, webhook_url
from doorbuster.contracts.audit import Auditable, AuditsPayments
from doorbuster.contracts.payments import Payments, ProviderNotFound
from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import HttpSettings, PaymentsSettings, Settings

CONNECTED = Settings(payments=PaymentsSettings(simulator_url="http://127.0.0.1:9"))


async def test_it_offers_what_its_contracts_say(open_database: OpenDatabase, platform: Platform):
    database = await open_database("payments", MIGRATIONS)
    built = build(replace(platform, settings=CONNECTED), database, ["a secret"])
    payments: Payments = built.service
    audited: tuple[Auditable, AuditsPayments] = (built.service, built.service)
    assert payments is audited[0]
    context = built.context
    assert (context.name, context.database) == ("payments", database)
    assert [(task.name, task.room) for task in context.tasks] == [
        ("payments-refunds", "back"),
        ("payments-reconciliation", "back"),
    ]
    assert [(consumer.source, consumer.name) for consumer in context.consumers] == [("orders", "payments.refunds")]
    assert len(context.faces().routes) == 2
    await built.close()


async def test_without_a_provider_nothing_is_opened_and_nothing_believed(
    open_database: OpenDatabase, platform: Platform
):
    service = build(platform, await open_database("payments", MIGRATIONS), []).service
    with pytest.raises(Unavailable):
        await service.create(1, CUSTOMER, PRICE, "key")
    with pytest.raises(ProviderNotFound):
        await service.receive_webhook("simulator", "t=1,v1=", b"{}")
    assert await service.close_open([1]) == {1: "closed"}
    assert {check.verdict for check in await service.audit()} == {"holds"}


async def test_a_provider_without_a_secret_stops_the_start(open_database: OpenDatabase, platform: Platform):
    database = await open_database("payments", MIGRATIONS)
    with pytest.raises(ValueError, match="secret"):
        build(replace(platform, settings=CONNECTED), database, [])


STRIPE = PaymentsSettings(
    simulator_url="http://127.0.0.1:9",
    stripe_url="https://api.stripe.com",
    stripe_secret_key="sk_test_1",
    stripe_webhook_secrets=("whsec_of_sixteen_signs",),
    default_provider="stripe",
)


async def test_two_providers_may_be_connected_and_one_opens_new_payments(
    open_database: OpenDatabase, platform: Platform
):
    database = await open_database("payments", MIGRATIONS)
    built = build(replace(platform, settings=Settings(payments=STRIPE)), database, ["a secret"])
    assert built.service.webhook_header("simulator") == "Doorbuster-Signature"
    assert built.service.webhook_header("stripe") == "Stripe-Signature"
    await built.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"stripe_secret_key": ""},
        {"stripe_webhook_secrets": ()},
        {"stripe_url": ""},
        {"default_provider": "simulator", "simulator_url": ""},
    ],
)
async def test_a_provider_that_is_half_connected_stops_the_start(
    open_database: OpenDatabase, platform: Platform, changes: dict[str, object]
):
    database = await open_database("payments", MIGRATIONS)
    settings = Settings(payments=msgspec.structs.replace(STRIPE, **changes))
    with pytest.raises(ValueError, match="payments"):
        build(replace(platform, settings=settings), database, ["a secret"])


@pytest.mark.parametrize(
    ("http", "address"),
    [
        (HttpSettings(), "http://127.0.0.1:8000/v1/payments/webhooks/simulator"),
        (HttpSettings(host="::1", port=1), "http://[::1]:1/v1/payments/webhooks/simulator"),
        (HttpSettings(public_url="https://shop.example/"), "https://shop.example/v1/payments/webhooks/simulator"),
    ],
)
def test_the_provider_is_told_where_to_call_back(http: HttpSettings, address: str):
    assert webhook_url(Settings(http=http), "simulator") == address


def test_the_back_room_needs_no_web_framework():
    code = (
        "import sys, doorbuster.contexts.payments.wiring;"
        "print([name for name in ('litestar', 'httpx', 'alembic') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
