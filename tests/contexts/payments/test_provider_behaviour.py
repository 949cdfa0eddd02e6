"""What every provider must do, whatever protocol it speaks: one suite for all adapters, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from contexts.payments.paying_shop import CUSTOMER, PRICE, SimulatorDesk, real_now_ms
from contexts.payments.test_model import PENDING, REFUND
from doorbuster.contexts.payments.model import PaymentRecord, RefundRecord, require_agreement
from doorbuster.contexts.payments.provider import (
    CONFLICT,
    IntentUnknown,
    MadeRefund,
    Opened,
    Period,
    Provider,
    ProviderRefused,
    StatementLine,
)
from doorbuster.contexts.payments.simulator import PaymentSimulator
from doorbuster.contexts.payments.stripe_protocol import KEY_LIFE_MS, PaymentIntentsProvider
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import Snowflake
from doorbuster.lab.payment_simulator.options import STRIPE_KEY_DEFAULT
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.breaker.errors import CircuitOpen

IDS = Snowflake(SystemClock(), worker=7)
VISA, DECLINED, POOR, ACTION = (
    "pm_card_visa",
    "pm_card_declined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_authenticationRequired",
)


def new_payment() -> PaymentRecord:
    """A payment that the provider has not heard of."""
    now_ms = real_now_ms()
    return replace(
        PENDING,
        id=IDS.next(),
        order_id=IDS.next(),
        customer_id=CUSTOMER,
        reference=None,
        amount=PRICE.amount,
        status="in_progress",
        created_ms=now_ms,
        updated_ms=now_ms,
    )


def refund_of(payment: PaymentRecord, amount: int, attempts: int = 1) -> RefundRecord:
    return replace(REFUND, id=IDS.next(), payment_id=payment.id, amount=amount, attempts=attempts)


class ProviderBehaviour:
    """Inherited by the suite of each adapter, which makes `provider`."""

    @pytest.fixture
    async def desk(self, shared_simulator: SimulatorProcess) -> AsyncIterator[SimulatorDesk]:
        desk = SimulatorDesk(shared_simulator)
        yield desk
        await desk.misbehave()
        await desk.client.aclose()

    async def opened(self, provider: Provider, method: str | None = None) -> tuple[PaymentRecord, Opened]:
        payment = new_payment()
        opened = await provider.create_intent(payment, method)
        payment = replace(payment, reference=opened.intent.reference)
        require_agreement(payment, opened.intent)
        return payment, opened

    async def captured(self, provider: Provider) -> PaymentRecord:
        return (await self.opened(provider, VISA))[0]

    async def pay(self, desk: SimulatorDesk, payment: PaymentRecord, outcome: str = "success") -> None:
        answer = await desk.client.post(f"/checkout/{payment.reference}/confirm", json={"outcome": outcome})
        assert answer.status_code == 200

    async def test_an_intent_is_opened_once_per_payment(self, provider: Provider):
        payment, first = await self.opened(provider)
        again = await asyncio.gather(*(provider.create_intent(payment, None) for _ in range(8)))
        assert {opened.intent.reference for opened in again} == {first.intent.reference}
        assert (first.intent.status, first.intent.captured, first.decline) == ("requires_payment", 0, None)
        assert await provider.get_intent(payment) == first.intent

    async def test_the_page_it_names_is_there(self, provider: Provider, desk: SimulatorDesk):
        _, opened = await self.opened(provider)
        page = await desk.client.get(opened.checkout_url)
        assert page.status_code == 200
        assert "19.90 CNY" in page.text

    async def test_what_is_paid_on_the_page_is_captured(self, provider: Provider, desk: SimulatorDesk):
        payment, _ = await self.opened(provider)
        await self.pay(desk, payment, "decline")
        assert (await provider.get_intent(payment)).status == "failed"
        await self.pay(desk, payment)
        intent = require_agreement(payment, await provider.get_intent(payment))
        assert (intent.status, intent.captured, intent.refunded) == ("captured", PRICE.amount, 0)

    async def test_a_method_that_comes_along_pays_at_once_and_once(self, provider: Provider):
        payment, opened = await self.opened(provider, VISA)
        assert (opened.intent.status, opened.intent.captured, opened.decline) == ("captured", PRICE.amount, None)
        assert await provider.create_intent(payment, VISA) == opened
        assert await self.lines(provider, payment) == [("capture", PRICE.amount)]

    @pytest.mark.parametrize(("method", "slug"), [(DECLINED, "card-declined"), (POOR, "insufficient-funds")])
    async def test_a_declined_method_takes_nothing_and_says_why(self, provider: Provider, method: str, slug: str):
        payment, opened = await self.opened(provider, method)
        assert (opened.intent.status, opened.intent.captured, opened.decline) == ("failed", 0, slug)
        assert await provider.create_intent(payment, method) == opened
        assert await self.lines(provider, payment) == []

    async def test_a_declined_intent_may_still_be_paid_on_the_page(self, provider: Provider, desk: SimulatorDesk):
        payment, _ = await self.opened(provider, DECLINED)
        await self.pay(desk, payment)
        assert (await provider.get_intent(payment)).status == "captured"

    async def test_a_method_that_asks_the_shopper_first_takes_nothing_yet(self, provider: Provider):
        _, opened = await self.opened(provider, ACTION)
        assert (opened.intent.status, opened.intent.captured, opened.decline) == ("requires_payment", 0, None)

    async def test_a_method_that_is_none_is_refused(self, provider: Provider):
        with pytest.raises(ProviderRefused):
            await provider.create_intent(new_payment(), "pm_of_nobody")

    async def test_too_much_is_refused(self, provider: Provider):
        with pytest.raises(ProviderRefused):
            await provider.create_intent(replace(new_payment(), amount=10**13), None)

    async def test_the_same_payment_with_another_amount_is_refused(self, provider: Provider):
        payment, _ = await self.opened(provider)
        with pytest.raises(ProviderRefused) as refused:
            await provider.create_intent(replace(payment, amount=payment.amount + 1), None)
        assert refused.value.slug == CONFLICT

    async def test_nobody_knows_a_payment_that_was_never_opened(self, provider: Provider):
        payment = replace(new_payment(), reference="pi_nobody")
        for ask in (provider.get_intent, provider.cancel_intent, provider.made_refunds):
            with pytest.raises(IntentUnknown):
                await ask(payment)

    async def test_what_is_cancelled_is_never_captured(self, provider: Provider, desk: SimulatorDesk):
        payment, _ = await self.opened(provider)
        for _ in range(2):
            assert (await provider.cancel_intent(payment)).status == "cancelled"
        await self.pay(desk, payment)
        assert (await provider.get_intent(payment)).status == "cancelled"
        assert await self.lines(provider, payment) == []

    async def test_a_cancellation_that_comes_too_late_says_so(self, provider: Provider):
        payment = await self.captured(provider)
        assert (await provider.cancel_intent(payment)).status == "captured"
        refund = refund_of(payment, PRICE.amount)
        await provider.refund(refund, payment)
        assert (await provider.cancel_intent(payment)).status == "refunded"

    async def test_refunds_in_parts_add_up_and_never_to_more(self, provider: Provider):
        payment = await self.captured(provider)
        first, second, third = refund_of(payment, 990), refund_of(payment, 1000), refund_of(payment, 1)
        await provider.refund(first, payment)
        await provider.refund(first, payment)
        assert (await provider.get_intent(payment)).refunded == 990
        with pytest.raises(ProviderRefused):
            await provider.refund(replace(second, amount=1001), payment)
        await provider.refund(refund_of(payment, 1000), payment)
        with pytest.raises(ProviderRefused):
            await provider.refund(third, payment)
        intent = await provider.get_intent(payment)
        assert (intent.status, intent.refunded) == ("refunded", PRICE.amount)
        made = await provider.made_refunds(payment)
        assert sorted(refund.amount for refund in made) == [990, 1000]
        assert MadeRefund(str(first.id), 990, "CNY") in made

    async def test_a_refund_is_asked_again_later_and_made_once(self, provider: Provider):
        payment = await self.captured(provider)
        refund = refund_of(payment, 500)
        await provider.refund(refund, payment)
        await provider.refund(replace(refund, attempts=9), payment)
        late = refund_of(payment, 500, attempts=2)
        await provider.refund(late, payment)
        assert (await provider.get_intent(payment)).refunded == 1000

    async def test_more_refunds_than_a_page_holds_are_all_known(self, provider: Provider):
        payment, _ = await self.opened(provider, VISA)
        refunds = [refund_of(payment, 1) for _ in range(103)]
        for refund in refunds:
            await provider.refund(refund, payment)
        made = await provider.made_refunds(payment)
        assert sorted(each.refund_id for each in made) == sorted(str(refund.id) for refund in refunds)
        await provider.refund(replace(refunds[0], attempts=2), payment)
        assert len(await provider.made_refunds(payment)) == 103

    async def test_money_that_is_not_there_is_not_given_back(self, provider: Provider):
        payment, _ = await self.opened(provider)
        with pytest.raises(ProviderRefused):
            await provider.refund(refund_of(payment, 1), payment)

    async def test_the_statement_names_our_ids_and_can_be_read_in_pages(self, provider: Provider):
        begun_ms = real_now_ms() // 1000 * 1000
        payment = await self.captured(provider)
        refund = refund_of(payment, 90)
        await provider.refund(refund, payment)
        lines: list[StatementLine] = []
        period = Period(begun_ms, begun_ms + 60_000)
        page = await provider.statement(None, 1, period)
        while True:
            lines += page.lines
            if page.next_after is None:
                break
            page = await provider.statement(page.next_after, 2, period)
        ours = sorted((line for line in lines if line.payment_id == str(payment.id)), key=lambda line: line.kind)
        named = [(line.kind, line.order_id, line.refund_id, line.amount, line.currency) for line in ours]
        assert named == [
            ("capture", str(payment.order_id), None, PRICE.amount, "CNY"),
            ("refund", str(payment.order_id), str(refund.id), 90, "CNY"),
        ]
        assert all(begun_ms <= line.at_ms < begun_ms + 60_000 for line in ours)
        before = await provider.statement(None, 100, Period(begun_ms - 2000, begun_ms - 1000))
        assert str(payment.id) not in {line.payment_id for line in before.lines}

    async def test_answers_that_are_lost_are_asked_for_again(self, provider: Provider, desk: SimulatorDesk):
        await desk.misbehave(
            drop_reply=True, drop_reply_times=2, drop_reply_on=["intent", "refund", "confirm", "cancel"]
        )
        payment = await self.captured(provider)
        await provider.refund(refund_of(payment, 5), payment)
        assert (await provider.cancel_intent(payment)).status == "captured"
        await desk.misbehave()
        assert sorted(await self.lines(provider, payment)) == [("capture", PRICE.amount), ("refund", 5)]

    async def test_a_provider_that_is_away_is_unavailable(self, provider: Provider, desk: SimulatorDesk):
        payment = await self.captured(provider)
        for down_as in ("unavailable", "close"):
            await desk.misbehave(down=True, down_as=down_as)
            for call in (
                provider.create_intent(new_payment(), None),
                provider.get_intent(payment),
                provider.cancel_intent(payment),
                provider.refund(refund_of(payment, 5), payment),
                provider.statement(None, 5),
            ):
                with pytest.raises(Unavailable):
                    await call
        await desk.misbehave()
        assert await self.asked_again(provider, payment) == [("capture", PRICE.amount)]

    async def asked_again(self, provider: Provider, payment: PaymentRecord) -> list[tuple[str, int]]:
        """Whoever failed so often is left alone for a while first."""
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self.lines(provider, payment)
                except CircuitOpen:
                    await asyncio.sleep(0.1)

    async def lines(self, provider: Provider, payment: PaymentRecord) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        page = await provider.statement(None, 500, Period(payment.created_ms // 1000 * 1000, real_now_ms() + 60_000))
        while True:
            found += [(line.kind, line.amount) for line in page.lines if line.payment_id == str(payment.id)]
            if page.next_after is None:
                return found
            page = await provider.statement(page.next_after, 500)


class TestPaymentSimulator(ProviderBehaviour):
    @pytest.fixture
    async def provider(self, shared_simulator: SimulatorProcess) -> AsyncIterator[Provider]:
        provider = PaymentSimulator(shared_simulator.base_url, "http://127.0.0.1:9/", 5.0, first_pause_s=0.01)
        yield provider
        await provider.close()


class TestPaymentIntents(ProviderBehaviour):
    @pytest.fixture
    async def provider(self, shared_simulator: SimulatorProcess) -> AsyncIterator[Provider]:
        provider = intents_provider(shared_simulator)
        yield provider
        await provider.close()

    async def test_a_request_that_was_to_confirm_and_one_that_was_not_are_told_apart(self, provider: Provider):
        payment, _ = await self.opened(provider, ACTION)
        with pytest.raises(ProviderRefused) as refused:
            await provider.create_intent(payment, None)
        assert refused.value.slug == CONFLICT

    async def test_a_wrong_key_opens_nothing(self, shared_simulator: SimulatorProcess):
        provider = PaymentIntentsProvider(f"{shared_simulator.base_url}/stripe", "sk_wrong", SystemClock(), 2.0)
        with pytest.raises(Unavailable):
            await provider.create_intent(new_payment(), VISA)
        await provider.close()

    async def test_a_request_older_than_the_keys_is_not_sent(self, shared_simulator: SimulatorProcess):
        payment = new_payment()
        provider = PaymentIntentsProvider(
            f"{shared_simulator.base_url}/stripe",
            STRIPE_KEY_DEFAULT,
            ManualClock(payment.created_ms + KEY_LIFE_MS + 1),
            2.0,
        )
        with pytest.raises(ProviderRefused, match="idempotency-key-expired"):
            await provider.create_intent(payment, VISA)
        await provider.close()


def intents_provider(simulator: SimulatorProcess, timeout_s: float = 5.0) -> PaymentIntentsProvider:
    return PaymentIntentsProvider(
        f"{simulator.base_url}/stripe", STRIPE_KEY_DEFAULT, SystemClock(), timeout_s, first_pause_s=0.01
    )
