"""Idempotency keys, as every creating request carries one."""

from __future__ import annotations

import re

from doorbuster.kernel.errors import Invalid, Unprocessable


class IdempotencyKeyMissing(Invalid):
    slug = "idempotency-key-missing"
    title = "This request needs an Idempotency-Key header"


class IdempotencyKeyInvalid(Invalid):
    slug = "idempotency-key-invalid"
    title = "An idempotency key is 1 to 64 visible ASCII characters"


class IdempotencyKeyReused(Unprocessable):
    slug = "idempotency-key-reused"
    title = "This idempotency key was used for a different request"


_VISIBLE = re.compile(r"[!-~]{1,64}")


def checked_key(key: str | None) -> str:
    """The key, if it is one. Raises IdempotencyKeyMissing, IdempotencyKeyInvalid."""
    if key is None:
        raise IdempotencyKeyMissing
    if not _VISIBLE.fullmatch(key):
        raise IdempotencyKeyInvalid
    return key
