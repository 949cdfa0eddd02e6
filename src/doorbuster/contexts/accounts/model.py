"""What an e-mail address, a password and a refresh token must be like. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from typing import Literal

from msgspec import Struct

from doorbuster.contracts.accounts import InvalidEmail, InvalidText, WeakPassword
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.principal import Role

EMAIL_MAX = 254
EMAIL_PATTERN = (
    r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"
)
"""A "valid e-mail address" of the HTML standard, the local part bounded as in RFC 5321. ASCII only, on purpose: there
is no agreed case folding for other letters, and look-alikes are how accounts are taken over."""

TEXT_PATTERN = (
    r"^[^\s\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
    r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
)
"""Starts with something visible; holds no control characters and none that turn the direction of writing."""

COUNTRY_PATTERN = "^[A-Z]{2}$"
"""ISO 3166-1 alpha-2."""
PHONE_PATTERN = r"^\+?[0-9][0-9 ()/.-]{3,29}$"

NAME_MAX = 100
LINE_MAX = 200
POSTCODE_MAX = 20
PASSWORD_MIN, PASSWORD_MAX = 10, 128
"""Characters. NIST SP 800-63B asks for at least 8 and for no rules of composition."""

_COMMON = """
0000000000 0123456789 0987654321 1111111111 1122334455 1234512345 123123123123 1234567890 1234567891
12345678900 12345678910 123456789a 123456789q 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc 5201314520 9876543210
a123456789 aa12345678 aaaaaaaaaa abc1234567 abcd123456 abcdefghij administrator asdfghjkl1 baseball123
changeme123 football123 iloveyou12 iloveyou123 letmein123 p@ssw0rd123 passw0rd123 password00 password01
password10 password11 password12 password123 password1234 princess123 q1w2e3r4t5 q1w2e3r4t5y6 qazwsxedcrfv
qwerty1234 qwerty12345 qwerty123456 qwertyuiop qwertyuiop123 superman123 welcome123 woaini1314
woaini1314520 woaini5201314 zxcvbnm123
"""
COMMON_PASSWORDS = frozenset(_COMMON.split())
"""What is tried first, of what is long enough: digits, rows of keys, words with digits. Compared without case."""

ADDRESSES_MAX = 20
FAMILIES_MAX = 20
"""Sessions of one account that are alive at the same time; the next log-in ends the oldest."""

GUESS_WINDOW_MS = 15 * 60 * 1000
GUESSES_FROM_ONE_PLACE = 10
GUESSES_FROM_ANYWHERE = 100

RefreshVerdict = Literal["rotate", "refuse", "reused"]
RevocationCause = Literal["log-out", "reuse", "too-many", "credentials-changed"]


class Registration(Struct, frozen=True):
    """What an idempotency key of a registration is bound to.

    Without the password: a stored fast digest of it could be searched at a billion guesses a second. The password of
    a repeated request is held against the account's Argon2 hash instead.
    """

    email: str
    name: str


class NewAddress(Struct, frozen=True):
    """Where a parcel goes. `region` (a province or state) and `postcode` may be empty."""

    recipient: str
    phone: str
    country: str
    region: str
    city: str
    street: str
    postcode: str


class Address(NewAddress, frozen=True):
    id: int
    created_ms: int


class Tokens(Struct, frozen=True):
    """What a session consists of. Neither token is ever stored."""

    access_token: str
    refresh_token: str
    expires_in_s: int


class PresentedToken(Struct, frozen=True):
    """A refresh token that was given out once, and what became of it and its family."""

    family_id: int
    account_id: int
    role: Role
    expires_ms: Instant
    rotated_ms: Instant | None
    revoked_ms: Instant | None


class GuessSubjects(Struct, frozen=True):
    """Under what a failed log-in is counted: the e-mail address from one place, and from anywhere."""

    from_here: bytes
    from_anywhere: bytes


def normalised_email(email: str) -> str:
    """In lower case. Raises InvalidEmail."""
    if len(email) > EMAIL_MAX or not _fits(EMAIL_PATTERN, email):
        raise InvalidEmail
    return email.lower()


def plain_text(field: str, text: str, length_max: int) -> str:
    """Without white space at its end. Raises InvalidText."""
    text = text.rstrip()
    if len(text) > length_max or not _fits(TEXT_PATTERN, text):
        raise InvalidText(f"{field} is not a text of 1 to {length_max} characters", field=field)
    return text


def checked_address(new: NewAddress) -> NewAddress:
    """With its texts trimmed. Raises InvalidText."""
    for field, text, pattern in (("country", new.country, COUNTRY_PATTERN), ("phone", new.phone, PHONE_PATTERN)):
        if not _fits(pattern, text):
            raise InvalidText(f"{field} does not look like one", field=field)
    return NewAddress(
        recipient=plain_text("recipient", new.recipient, NAME_MAX),
        phone=new.phone,
        country=new.country,
        region=plain_text("region", new.region, NAME_MAX) if new.region else "",
        city=plain_text("city", new.city, NAME_MAX),
        street=plain_text("street", new.street, LINE_MAX),
        postcode=plain_text("postcode", new.postcode, POSTCODE_MAX) if new.postcode else "",
    )


def _fits(pattern: str, text: str) -> bool:
    """The patterns are also those of the API's schema, whose `$` lets a line break through in Python."""
    return re.search(pattern, text) is not None and not text.endswith("\n")


def normalised_password(password: str) -> str:
    """NFKC, so that two keyboards that compose a letter differently type the same password (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)


def checked_password(password: str, email: str) -> str:
    """Normalised, if it is fit for a new account. Raises WeakPassword."""
    if len(password) > PASSWORD_MAX:
        raise WeakPassword(f"a password has at most {PASSWORD_MAX} characters")
    password = normalised_password(password)
    if len(password) < PASSWORD_MIN:
        raise WeakPassword(f"a password has at least {PASSWORD_MIN} characters")
    if password.casefold() in COMMON_PASSWORDS:
        raise WeakPassword("this is one of the first passwords that anybody would try")
    if password.casefold() == email:
        raise WeakPassword("the e-mail address is not a password")
    return password


def guess_subjects(email: str, address: str) -> GuessSubjects:
    """Digests, because those who mistype are not all customers: nobody's address is kept for it."""
    return GuessSubjects(_digest(email, _place(address)), _digest(email, "anywhere"))


def _place(address: str) -> str:
    """The network that one subscriber commands: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), 64), strict=False))


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()


def token_digest(token: str) -> bytes:
    """What is stored of a refresh token. A fast hash will do: 256 random bits cannot be searched."""
    return hashlib.sha256(token.encode()).digest()


def judge_refresh(token: PresentedToken | None, now_ms: Instant) -> RefreshVerdict:
    """What a presented refresh token deserves.

    One that was exchanged before is in two hands, and nobody can tell whose are the thief's: no grace, also for
    two tabs at once, and also after it would have expired.
    """
    if token is None or token.revoked_ms is not None:
        return "refuse"
    if token.rotated_ms is not None:
        return "reused"
    return "rotate" if now_ms < token.expires_ms else "refuse"
