"""The payment intents protocol over HTTP, under /stripe: bearer key, forms in, JSON out."""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Callable

import msgspec

from doorbuster.lab.payment_simulator import stripe_store
from doorbuster.lab.payment_simulator.exchange import Request, Response
from doorbuster.lab.payment_simulator.provider import Provider
from doorbuster.lab.payment_simulator.routing import Handler, Route
from doorbuster.lab.payment_simulator.stripe_form import Form, FormError, read_form
from doorbuster.lab.payment_simulator.stripe_objects import error_object
from doorbuster.lab.payment_simulator.stripe_store import Answer, Stored

KEY_MAX = 255

_INTENT_FIELDS = frozenset(
    {
        "amount",
        "currency",
        "metadata",
        "payment_method",
        "confirm",
        "automatic_payment_methods[enabled]",
        "automatic_payment_methods[allow_redirects]",
        "return_url",
        "description",
    }
)
_REFUND_FIELDS = frozenset({"payment_intent", "amount", "metadata", "reason"})
_LIST_FIELDS = frozenset({"limit", "starting_after", "payment_intent", "created[gte]", "created[lt]"})
_NONE: frozenset[str] = frozenset()


class StripeApi:
    """The routes; everything is done by ``provider``."""

    def __init__(self, provider: Provider, secret_key: str) -> None:
        self._provider = provider
        self._authorization = f"Bearer {secret_key}"

    def routes(self, show_checkout: Handler, confirm: Handler) -> tuple[Route, ...]:
        return (
            Route("POST", "/stripe/v1/payment_intents", self._guarded(self._create_intent), "intent"),
            Route("GET", "/stripe/v1/payment_intents/{}", self._guarded(self._show_intent)),
            Route("POST", "/stripe/v1/payment_intents/{}/cancel", self._guarded(self._cancel_intent), "cancel"),
            Route("POST", "/stripe/v1/refunds", self._guarded(self._create_refund), "refund"),
            Route("GET", "/stripe/v1/refunds", self._guarded(self._list_refunds)),
            Route("GET", "/stripe/v1/balance_transactions", self._guarded(self._list_transactions)),
            Route("GET", "/stripe/checkout/{}", show_checkout),
            Route("POST", "/stripe/checkout/{}/confirm", confirm, "confirm"),
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def answer(request: Request, key: str) -> Response:
            if not hmac.compare_digest(request.authorization.encode(), self._authorization.encode()):
                return _response(401, _refusal(None, "Invalid API Key provided"))
            if len(request.idempotency_key) > KEY_MAX:
                return _response(400, _refusal(None, "The Idempotency-Key is too long"))
            try:
                return await handler(request, key)
            except FormError as error:
                return _response(400, _refusal(error.code, str(error)))

        return answer

    async def _create_intent(self, request: Request, _: str) -> Response:
        form, conditions = _form(request, _INTENT_FIELDS), self._provider.conditions()
        key, url = request.idempotency_key, self._provider.endpoint.stripe_webhook_url
        return await self._post(request, lambda store: stripe_store.create_intent(store, form, key, url, conditions))

    async def _show_intent(self, request: Request, reference: str) -> Response:
        form = read_form(request.query, _NONE)
        return await self._get(lambda store: stripe_store.show_intent(store, form, reference))

    async def _cancel_intent(self, request: Request, reference: str) -> Response:
        form, conditions = _form(request, frozenset({"cancellation_reason"})), self._provider.conditions()
        return await self._post(request, lambda store: stripe_store.cancel_intent(store, form, reference, conditions))

    async def _create_refund(self, request: Request, _: str) -> Response:
        form, conditions = _form(request, _REFUND_FIELDS), self._provider.conditions()
        key = request.idempotency_key
        return await self._post(request, lambda store: stripe_store.create_refund(store, form, key, conditions))

    async def _list_refunds(self, request: Request, _: str) -> Response:
        form = read_form(request.query, _LIST_FIELDS)
        return await self._get(lambda store: stripe_store.list_refunds(store, form))

    async def _list_transactions(self, request: Request, _: str) -> Response:
        form = read_form(request.query, _LIST_FIELDS)
        return await self._get(lambda store: stripe_store.list_balance_transactions(store, form))

    async def _post(self, request: Request, act: Callable[[sqlite3.Connection], Answer]) -> Response:
        def work(store: sqlite3.Connection) -> Stored:
            return stripe_store.once(store, request.idempotency_key, request.path, request.body, lambda: act(store))

        status, body = await self._provider.transact(work)
        return _response(status, body)

    async def _get(self, read: Callable[[sqlite3.Connection], Answer]) -> Response:
        status, answer = await self._provider.transact(read)
        return _response(status, msgspec.json.encode(answer))


def _form(request: Request, known: frozenset[str]) -> Form:
    """Raises FormError."""
    try:
        return read_form(request.body.decode("ascii"), known)
    except UnicodeDecodeError as error:
        raise FormError("parameter_invalid", "the parameters cannot be read") from error


def _refusal(code: str | None, message: str) -> bytes:
    return msgspec.json.encode(error_object("invalid_request_error", code, message))


def _response(status: int, body: bytes) -> Response:
    return Response(status, body)
