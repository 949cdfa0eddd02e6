"""The objects of the payment intents protocol, as JSON values; times are Unix seconds, currencies lower case."""

from __future__ import annotations

from doorbuster.lab.payment_simulator.stored import RefundRow, StoredIntent

API_VERSION = "2024-06-20"

Json = dict[str, object]

_STATUS = {
    "requires_payment": "requires_payment_method",
    "failed": "requires_payment_method",
    "captured": "succeeded",
    "refunded": "succeeded",
    "cancelled": "canceled",
}


def charge_id(intent: StoredIntent) -> str:
    return "ch_" + intent.reference.removeprefix("pi_")


def intent_object(intent: StoredIntent, *, expand_charge: bool = False) -> Json:
    """The payment intent; ``latest_charge`` is an id unless it is to be expanded."""
    charge: Json | str | None = None
    if intent.captured:
        charge = charge_object(intent) if expand_charge else charge_id(intent)
    return {
        "id": intent.reference,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_received": intent.captured,
        "automatic_payment_methods": {"enabled": True},
        "canceled_at": None,
        "capture_method": "automatic",
        "client_secret": f"{intent.reference}_secret_{intent.reference[-8:]}",
        "confirmation_method": "automatic",
        "created": intent.created_ms // 1000,
        "currency": intent.currency.lower(),
        "last_payment_error": _payment_error(intent),
        "latest_charge": charge,
        "livemode": False,
        "metadata": intent.metadata_map,
        "next_action": {"type": "use_stripe_sdk"} if intent.stage else None,
        "payment_method": None if intent.decline else intent.method,
        "payment_method_types": ["card"],
        "status": intent.stage or _STATUS[intent.status],
    }


def _payment_error(intent: StoredIntent) -> Json | None:
    if intent.decline is None:
        return None
    return {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": intent.decline,
        "message": "Your card was declined.",
    }


def charge_object(intent: StoredIntent) -> Json:
    return {
        "id": charge_id(intent),
        "object": "charge",
        "amount": intent.captured,
        "amount_captured": intent.captured,
        "amount_refunded": intent.refunded,
        "captured": True,
        "created": intent.created_ms // 1000,
        "currency": intent.currency.lower(),
        "livemode": False,
        "metadata": intent.metadata_map,
        "paid": True,
        "payment_intent": intent.reference,
        "refunded": 0 < intent.captured == intent.refunded,
        "status": "succeeded",
    }


def refund_object(refund: RefundRow, reference: str) -> Json:
    return {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "created": refund.at_ms // 1000,
        "currency": refund.currency.lower(),
        "metadata": refund.metadata,
        "payment_intent": reference,
        "reason": None,
        "status": "succeeded",
    }


def error_object(
    kind: str, code: str | None, message: str, *, intent: Json | None = None, decline_code: str | None = None
) -> Json:
    error: Json = {"type": kind, "message": message}
    if code is not None:
        error["code"] = code
    if decline_code is not None:
        error["decline_code"] = decline_code
    if intent is not None:
        error["payment_intent"] = intent
    return {"error": error}
