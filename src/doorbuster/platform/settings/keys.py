"""Keys that sign access tokens, as text in the settings and in the secrets' file."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from msgspec import Struct

KEY_BYTES = 32


class Key(Struct, frozen=True):
    id: str
    secret: bytes

    @classmethod
    def generate(cls) -> Key:
        return cls(secrets.token_hex(4), secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Key:
        """From "id:base64url". Raises ValueError."""
        name, _, encoded = text.partition(":")
        digits = encoded.rstrip("=").encode()
        secret = unpadded(digits)
        # The decoder leaves out what it does not know, such as the + and / of another alphabet.
        if not name.isalnum() or len(secret) < KEY_BYTES or padless(secret) != digits:
            raise ValueError("a key is id:base64url, of at least 32 bytes")
        return cls(name, secret)

    def render(self) -> str:
        return f"{self.id}:{padless(self.secret).decode()}"


def padless(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def unpadded(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
