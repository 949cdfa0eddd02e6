"""The signature of a callback: `t=<unix s>,v1=<hex hmac-sha256 of "<t>.<raw body>">`, one v1 per secret.

Several secrets are accepted, so that they can be rotated: ours first gets the new one, then theirs, then ours loses
the old one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from doorbuster.contracts.payments import WebhookSignatureInvalid, WebhookStale
from doorbuster.kernel.clock import Instant

HEADER = "Doorbuster-Signature"
STRIPE_HEADER = "Stripe-Signature"
SECRETS_MAX = 8

# Lower-case hexadecimal and nothing around it: one signature has one spelling.
_SIGNATURE = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64}){1,8})")
# The same among signatures of other schemes, which are not looked at.
_AMONG_OTHERS = re.compile(r"t=([0-9]{1,12})((?:,v[0-9]=[0-9a-f]{64}){1,16})")


class Verifier:
    """Knows the secrets; tells callbacks of the provider from those of anybody else."""

    def __init__(self, secrets: Sequence[str], tolerance_s: int, *, other_schemes: bool = False) -> None:
        """`other_schemes`: the header may carry signatures of schemes beside v1."""
        if len(secrets) > SECRETS_MAX or not all(secrets):
            raise ValueError(f"at most {SECRETS_MAX} webhook secrets, none of them empty")
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._tolerance_ms = tolerance_s * 1000
        self._pattern = _AMONG_OTHERS if other_schemes else _SIGNATURE

    def verify(self, header: str | None, body: bytes, now_ms: Instant) -> None:
        """Raises WebhookSignatureInvalid, and WebhookStale for a good signature of another time."""
        match = self._pattern.fullmatch(header or "")
        if match is None:
            raise WebhookSignatureInvalid
        signed_s, given = match[1], [part[3:] for part in match[2].split(",")[1:] if part.startswith("v1=")]
        message = signed_s.encode() + b"." + body
        genuine = False
        # All against all, without stopping at the first that fits: the time taken tells nothing.
        for secret in self._secrets:
            expected = hmac.digest(secret, message, "sha256").hex()
            for signature in given:
                genuine |= hmac.compare_digest(expected, signature)
        if not genuine:
            raise WebhookSignatureInvalid
        if abs(now_ms - int(signed_s) * 1000) > self._tolerance_ms:
            raise WebhookStale(tolerance_s=self._tolerance_ms // 1000)
