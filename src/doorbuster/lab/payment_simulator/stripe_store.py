"""The payment intents protocol on the store: each function is one transaction's work and returns status and body."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable

import msgspec

from doorbuster.lab.payment_simulator import announcing, intents, refunds, stripe_objects
from doorbuster.lab.payment_simulator.errors import (
    IntentNotFoundError,
    MethodUnknownError,
    NotCapturedError,
    RefundTooLargeError,
)
from doorbuster.lab.payment_simulator.intents import Conditions, derived_id
from doorbuster.lab.payment_simulator.stored import RefundRow, StoredIntent
from doorbuster.lab.payment_simulator.stripe_form import Form, FormError
from doorbuster.lab.payment_simulator.stripe_objects import Json, error_object

Answer = tuple[int, Json]
Stored = tuple[int, bytes]

KEPT_STATUSES = (200, 402)
"""What a key is bound to: what was carried out, not what was refused before it began."""


def once(connection: sqlite3.Connection, key: str, path: str, body: bytes, act: Callable[[], Answer]) -> Stored:
    """What ``act`` answers the first time; the same for the same key and request ever after."""
    digest = hashlib.blake2b(path.encode() + b"\n" + body, digest_size=16).digest()
    if key:
        found = connection.execute("SELECT digest, status, body FROM idempotency_keys WHERE key = ?", (key,)).fetchone()
        if found is not None and found[0] == digest:
            return found[1], found[2]
        if found is not None:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with."
            )
            return 400, msgspec.json.encode(error_object("idempotency_error", None, message))
    status, answer = act()
    encoded = msgspec.json.encode(answer)
    if key and status in KEPT_STATUSES:
        connection.execute(
            "INSERT INTO idempotency_keys (key, digest, status, body) VALUES (?, ?, ?, ?)",
            (key, digest, status, encoded),
        )
    return status, encoded


def create_intent(
    connection: sqlite3.Connection, form: Form, key: str, webhook_url: str, conditions: Conditions
) -> Answer:
    amount, currency = form.amount(), form.required("currency", "[a-z]{3}")
    if amount is None:
        raise FormError("parameter_missing", "amount is missing")
    method = form.optional("payment_method", "[A-Za-z0-9_]{1,64}")
    confirm = form.optional("confirm", "true|false") == "true"
    if confirm and method is None:
        raise FormError("parameter_missing", "a payment_method is needed to confirm")
    try:
        intents.require_method(method)
    except MethodUnknownError:
        return _refused("resource_missing", f"No such PaymentMethod: '{method}'")
    reference = derived_id("pi", conditions.dice.seed, key or secrets.token_hex(12))
    new = StoredIntent(
        reference,
        reference,
        "requires_payment",
        form.metadata.get("order_id", ""),
        amount,
        currency.upper(),
        0,
        0,
        webhook_url,
        0,
        "stripe",
        None,
        "",
        method,
        msgspec.json.encode(form.metadata).decode(),
        conditions.now_ms,
    )
    new = intents.open_intent(connection, new, method if confirm else None, conditions) or new
    shown = _shown(new, form)
    if confirm and new.status == "failed":
        return 402, error_object(
            "card_error", "card_declined", "Your card was declined.", intent=shown, decline_code=new.decline
        )
    return 200, shown


def show_intent(connection: sqlite3.Connection, form: Form, reference: str) -> Answer:
    intent = _find(connection, reference)
    return _missing("payment_intent", reference) if intent is None else (200, _shown(intent, form))


def cancel_intent(connection: sqlite3.Connection, form: Form, reference: str, conditions: Conditions) -> Answer:
    if _find(connection, reference) is None:
        return _missing("payment_intent", reference)
    intent, done = intents.cancel(connection, reference, conditions)
    if done:
        return 200, _shown(intent, form)
    message = f"You cannot cancel this PaymentIntent because it has a status of {intent.status}."
    code = "payment_intent_unexpected_state"
    return 400, error_object("invalid_request_error", code, message, intent=_shown(intent, form))


def create_refund(connection: sqlite3.Connection, form: Form, key: str, conditions: Conditions) -> Answer:
    reference = form.required("payment_intent", "[A-Za-z0-9_]{1,255}")
    asked = form.amount()
    intent = _find(connection, reference)
    if intent is None:
        return _missing("payment_intent", reference)
    refund_id = derived_id("re", conditions.dice.seed, key or secrets.token_hex(12))
    amount = intent.captured - intent.refunded if asked is None else asked
    row = RefundRow(refund_id, amount, intent.currency, conditions.now_ms, form.metadata)
    try:
        intent = refunds.pay_back(connection, intent, row)
    except NotCapturedError as error:
        return _refused("payment_intent_unexpected_state", str(error))
    except RefundTooLargeError as error:
        return _refused("charge_already_refunded" if intent.status == "refunded" else "amount_too_large", str(error))
    announcing.announce(connection, "refunded", intent, row, conditions.dice, conditions.now_ms)
    return 200, stripe_objects.refund_object(row, reference)


def list_refunds(connection: sqlite3.Connection, form: Form) -> Answer:
    reference = form.required("payment_intent", "[A-Za-z0-9_]{1,255}")
    intent = _find(connection, reference)
    if intent is None:
        return _missing("payment_intent", reference)
    newest_first = [stripe_objects.refund_object(row, reference) for row in reversed(refunds.made(connection, intent))]
    after = form.optional("starting_after", "[A-Za-z0-9_]{1,255}")
    if after is not None:
        place = next((n for n, each in enumerate(newest_first) if each["id"] == after), None)
        if place is None:
            return _missing("refund", after)
        newest_first = newest_first[place + 1 :]
    return 200, _list("/v1/refunds", newest_first, form.limit())


def list_balance_transactions(connection: sqlite3.Connection, form: Form) -> Answer:
    limit, after = form.limit(), form.optional("starting_after", "txn_[0-9]{1,18}")
    from_s = form.whole("created[gte]", 0, 2**50) or 0
    until_s = form.whole("created[lt]", 0, 2**50)
    rows = connection.execute(
        "SELECT s.seq, s.kind, s.payment_id, s.refund_id, s.amount, s.currency, s.at_ms, s.metadata, i.metadata"
        " FROM statement s JOIN intents i ON i.id = s.payment_id"
        " WHERE s.protocol = 'stripe' AND s.seq < ? AND s.at_ms >= ? AND s.at_ms < ? ORDER BY s.seq DESC LIMIT ?",
        (
            int(after.removeprefix("txn_")) if after is not None else 2**62,
            from_s * 1000,
            until_s * 1000 if until_s is not None else 2**62,
            limit + 1,
        ),
    )
    return 200, _list("/v1/balance_transactions", [_transaction(row, form) for row in rows], limit)


def _transaction(row: tuple[int, str, str, str | None, int, str, int, str, str], form: Form) -> Json:
    seq, kind, reference, refund_id, amount, currency, at_ms, own_metadata, intent_metadata = row
    captured = kind == "capture"
    source_id = "ch_" + reference.removeprefix("pi_") if captured else refund_id
    source: Json | str | None = source_id
    if "data.source" in form.expand:
        metadata = intent_metadata if captured else own_metadata
        source = {
            "id": source_id,
            "object": "charge" if captured else "refund",
            "payment_intent": reference,
            "metadata": msgspec.json.decode(metadata),
        }
    signed = amount if captured else -amount
    return {
        "id": f"txn_{seq}",
        "object": "balance_transaction",
        "amount": signed,
        "created": at_ms // 1000,
        "currency": currency.lower(),
        "fee": 0,
        "net": signed,
        "source": source,
        "status": "available",
        "type": "charge" if captured else "refund",
    }


def _list(url: str, items: list[Json], limit: int) -> Json:
    return {"object": "list", "url": url, "has_more": len(items) > limit, "data": items[:limit]}


def _shown(intent: StoredIntent, form: Form) -> Json:
    return stripe_objects.intent_object(intent, expand_charge="latest_charge" in form.expand)


def _find(connection: sqlite3.Connection, reference: str) -> StoredIntent | None:
    try:
        intent = intents.find(connection, reference)
    except IntentNotFoundError:
        return None
    return intent if intent.protocol == "stripe" else None


def _missing(kind: str, key: str) -> Answer:
    return 404, error_object("invalid_request_error", "resource_missing", f"No such {kind}: '{key}'")


def _refused(code: str, message: str) -> Answer:
    return 400, error_object("invalid_request_error", code, message)
