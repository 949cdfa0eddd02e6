"""The signature of a webhook: ``t=<unix s>,v1=<hex hmac-sha256 of "<t>.<body>">``, one v1 per secret."""

from __future__ import annotations

import hashlib
import hmac

HEADER_NAME = "Doorbuster-Signature"
HEADER_NAMES = {"simulator": HEADER_NAME, "stripe": "Stripe-Signature"}
"""By protocol."""


def mac(secret: bytes, at_s: int, body: bytes) -> str:
    """The hexadecimal HMAC-SHA256 of ``"<at_s>.<body>"``."""
    return hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()


def sign(secrets: tuple[bytes, ...], at_s: int, body: bytes) -> str:
    """The header's value; while secrets rotate, every one of them signs."""
    return ",".join((f"t={at_s}", *(f"v1={mac(secret, at_s, body)}" for secret in secrets)))
