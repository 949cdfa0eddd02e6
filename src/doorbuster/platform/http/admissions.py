"""Admissions on the wire: `key-id.body.signature`, signed by the waiting room, checked at the claim without asking it.

The keys are those of the access tokens, each turned into one of its own for this purpose, so that neither kind of
token ever passes for the other; whoever rotates the one rotates the other.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from doorbuster.kernel.admission import Admission, AdmissionInvalid
from doorbuster.platform.settings.keys import Key, padless, unpadded

HEADER = b"doorbuster-admission"
TOKEN_BYTES_MAX = 512
_PURPOSE = b"doorbuster waiting room admission 1"


class _Body(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    sale_id: int
    customer_id: int
    ticket_id: int
    expires_ms: int


_body = msgspec.json.Decoder(_Body)


class AdmissionKeys:
    """Keys that are accepted; the first signs."""

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ValueError("admissions need a key")
        self._secrets = {key.id.encode(): hmac.digest(key.secret, _PURPOSE, "sha256") for key in keys}
        self._signing = next(iter(self._secrets))

    def sign(self, admission: Admission) -> str:
        """The same text for the same admission, as long as the key is the same."""
        body = _Body(admission.sale_id, admission.customer_id, admission.ticket_id, admission.expires_ms)
        signed = self._signing + b"." + padless(msgspec.json.encode(body))
        return (signed + b"." + self._mac(self._signing, signed)).decode()

    def verify(self, token: bytes) -> Admission:
        """What was signed, expired or not. Raises AdmissionInvalid."""
        signed, _, signature = token.rpartition(b".")
        key_id, _, body = signed.partition(b".")
        if key_id not in self._secrets or len(token) > TOKEN_BYTES_MAX:
            raise AdmissionInvalid(reason="forged")
        if not hmac.compare_digest(self._mac(key_id, signed), signature):
            raise AdmissionInvalid(reason="forged")
        try:
            found = _body.decode(unpadded(body))
        except ValueError as error:  # msgspec's and base64's errors are ValueErrors
            raise AdmissionInvalid(reason="forged") from error
        return Admission(found.sale_id, found.customer_id, found.ticket_id, found.expires_ms)

    def _mac(self, key_id: bytes, signed: bytes) -> bytes:
        return padless(hmac.digest(self._secrets[key_id], signed, "sha256"))
