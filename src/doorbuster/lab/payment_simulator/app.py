"""The ASGI application: routes, misbehaviour around them, and problem+json for what is refused."""

from __future__ import annotations

import asyncio
import hashlib

from doorbuster.lab.payment_simulator import reading
from doorbuster.lab.payment_simulator.checkout_page import back_to_page, checkout_page
from doorbuster.lab.payment_simulator.errors import InvalidRequestError, OutageError, SimulatorError
from doorbuster.lab.payment_simulator.exchange import (
    Receive,
    Request,
    Response,
    Scope,
    Send,
    hang_up,
    json_response,
    read_request,
    send_response,
)
from doorbuster.lab.payment_simulator.messages import ConfirmRequest, IntentRequest, RefundRequest
from doorbuster.lab.payment_simulator.misbehaviour import Misbehaviour, Tries
from doorbuster.lab.payment_simulator.problems import problem_response
from doorbuster.lab.payment_simulator.provider import Endpoint, Provider
from doorbuster.lab.payment_simulator.routing import Route, Routes
from doorbuster.lab.payment_simulator.stripe_api import StripeApi
from doorbuster.lab.payment_simulator.targets import parse_target


class LineDeadError(Exception):
    """The connection ends here, without an answer."""


class PaymentSimulator:
    """One provider behind HTTP; the control routes exist only when ``controllable``."""

    def __init__(self, provider: Provider, *, controllable: bool, stripe_key: str) -> None:
        self._provider = provider
        stripe = StripeApi(provider, stripe_key).routes(self._show_checkout, self._confirm)
        control = self._control_routes() if controllable else ()
        self._routes = Routes(self._provider_routes() + stripe + control)
        self._tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive)
        except SimulatorError as error:
            response = problem_response(error)
        except LineDeadError:
            await hang_up(scope, receive)
            return
        await send_response(send, response)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        route, key = self._routes.find(scope["method"], scope["path"])
        request = await read_request(scope, receive)
        settings = self._provider.dice.settings
        if not route.provider or not (settings.down or settings.drop_reply or settings.slow):
            return await route.handler(request, key)
        return await self._answer_badly(route, request, key)

    async def _answer_badly(self, route: Route, request: Request, key: str) -> Response:
        dice, replies = self._provider.dice, self._provider.replies
        body_digest = hashlib.blake2b(request.body, digest_size=12).hexdigest()
        subject = f"{request.method} {request.path} {body_digest}"
        number = self._tries.next(subject)
        this_try = f"{subject} {number}"
        if dice.happens("down", this_try):
            replies["down"] += 1
            raise OutageError if dice.settings.down_as == "unavailable" else LineDeadError
        response = await route.handler(request, key)
        if dice.happens("slow", this_try):
            replies["slow"] += 1
            await asyncio.sleep(dice.between(dice.settings.slow_ms, "slow", this_try) / 1000)
        droppable = route.name in dice.settings.drop_reply_on and number <= dice.settings.drop_reply_times
        if droppable and dice.happens("drop_reply", this_try):
            replies["dropped"] += 1
            raise LineDeadError
        return response

    def _provider_routes(self) -> tuple[Route, ...]:
        return (
            Route("POST", "/v1/intents", self._create_intent, "intent"),
            Route("GET", "/v1/intents/{}", self._show_intent),
            Route("POST", "/v1/intents/{}/cancel", self._cancel_intent, "cancel"),
            Route("GET", "/v1/intents/{}/refunds", self._show_refunds),
            Route("GET", "/checkout/{}", self._show_checkout),
            Route("POST", "/checkout/{}/confirm", self._confirm, "confirm"),
            Route("POST", "/v1/refunds", self._refund, "refund"),
            Route("GET", "/v1/statement", self._show_statement),
            Route("GET", "/healthz", self._show_health, provider=False),
        )

    def _control_routes(self) -> tuple[Route, ...]:
        return (
            Route("GET", "/control/misbehaviour", self._show_misbehaviour, provider=False),
            Route("PUT", "/control/misbehaviour", self._misbehave, provider=False),
            Route("PUT", "/control/endpoint", self._change_endpoint, provider=False),
            Route("GET", "/control/stats", self._show_stats, provider=False),
        )

    async def _create_intent(self, request: Request, _: str) -> Response:
        asked = reading.read_json(request, IntentRequest)
        _require_target(asked.webhook_url, "webhook_url")
        return json_response(201, await self._provider.create_intent(asked))

    async def _show_intent(self, _: Request, payment_id: str) -> Response:
        return json_response(200, await self._provider.find_intent(payment_id))

    async def _cancel_intent(self, _: Request, payment_id: str) -> Response:
        return json_response(200, await self._provider.cancel(payment_id))

    async def _show_refunds(self, _: Request, payment_id: str) -> Response:
        return json_response(200, await self._provider.made_refunds(payment_id))

    async def _show_checkout(self, _: Request, reference: str) -> Response:
        return checkout_page(await self._provider.find_checkout(reference))

    async def _confirm(self, request: Request, reference: str) -> Response:
        if reading.is_form(request):
            await self._provider.confirm(reference, reading.read_form_outcome(request).outcome)
            return back_to_page(reference)
        outcome = reading.read_json(request, ConfirmRequest).outcome
        return json_response(200, await self._provider.confirm(reference, outcome))

    async def _refund(self, request: Request, _: str) -> Response:
        asked = reading.read_json(request, RefundRequest)
        return json_response(201, await self._provider.refund(asked))

    async def _show_statement(self, request: Request, _: str) -> Response:
        cursor, limit = reading.read_page_bounds(request)
        bounds = reading.read_time_bounds(request)
        return json_response(200, await self._provider.read_statement(cursor, limit, bounds))

    async def _show_health(self, _request: Request, _: str) -> Response:
        return json_response(200, {"status": "ok"})

    async def _show_misbehaviour(self, _request: Request, _: str) -> Response:
        return json_response(200, self._provider.dice.settings)

    async def _misbehave(self, request: Request, _: str) -> Response:
        self._provider.misbehave(reading.read_json(request, Misbehaviour))
        return json_response(200, self._provider.dice.settings)

    async def _change_endpoint(self, request: Request, _: str) -> Response:
        endpoint = reading.read_json(request, Endpoint)
        _require_target(endpoint.stripe_webhook_url, "stripe_webhook_url")
        self._provider.endpoint = endpoint
        return json_response(200, endpoint)

    async def _show_stats(self, _request: Request, _: str) -> Response:
        return json_response(200, await self._provider.stats())


def _require_target(url: str, field: str) -> None:
    """Raises InvalidRequestError for an address that nothing can be sent to."""
    try:
        if url:
            parse_target(url)
    except ValueError as error:
        raise InvalidRequestError(f"{field}: {error}") from error
