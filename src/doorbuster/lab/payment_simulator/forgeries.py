"""Webhooks of an attacker: each carries the genuine event id, and no signature that fits its body."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from doorbuster.lab.payment_simulator.signatures import sign

FORGERIES = ("wrong_secret", "other_amount", "other_currency", "borrowed_signature", "flipped_digit")

Signed = tuple[bytes, str]


def forge(forgery: str, body: bytes, secrets: tuple[bytes, ...], at_s: int) -> Signed:
    """Body and signature header of one kind of ``FORGERIES``, made from the genuine ``body``.

    Raises:
        ValueError: an unknown kind.
    """
    match forgery:
        case "wrong_secret":
            return body, sign(_wrong(secrets), at_s, body)
        case "other_amount":
            altered = _alter(body, "amount", 1)
            return altered, sign(_wrong(secrets), at_s, altered)
        case "other_currency":
            altered = _alter(body, "currency", "VND")
            return altered, sign(_wrong(secrets), at_s, altered)
        case "borrowed_signature":
            return _alter(body, "amount", 1), sign(secrets, at_s, body)
        case "flipped_digit":
            return body, _flip_last_digits(sign(secrets, at_s, body))
        case _:
            raise ValueError(f"unknown forgery {forgery!r}")


def _wrong(secrets: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(b"forger|" + secret).digest() for secret in secrets)


def _alter(body: bytes, name: str, value: object) -> bytes:
    """The event with another value of its subject, in either protocol."""
    event: dict[str, Any] = msgspec.json.decode(body)
    subject: dict[str, Any] = event["data"].get("object", event["data"])
    if subject[name] == value:  # the genuine event has that very value
        name = "payment_id" if "payment_id" in subject else "id"
        value = f"{subject[name]}0"
    subject[name] = value
    return msgspec.json.encode(event)


def _flip_last_digits(header: str) -> str:
    parts = header.split(",")
    return ",".join(part[:-1] + format(int(part[-1], 16) ^ 1, "x") if part[:3] == "v1=" else part for part in parts)
