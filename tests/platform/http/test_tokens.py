"""Access tokens, held against PyJWT: what we sign it accepts, what we accept it would accept, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOW_MS
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import ROLES, Principal
from doorbuster.platform.http.tokens import TOKEN_BYTES_MAX, ExpiredToken, InvalidToken, KeyRing
from doorbuster.platform.settings.keys import Key

KEY = Key("k1", bytes(range(32)))
OLD = Key("k0", bytes(range(32, 64)))
NOW_S = NOW_MS // 1000
HEADER = {"alg": "HS256", "kid": "k1", "typ": "JWT"}
CLAIMS = {"iss": "doorbuster", "sub": "42", "role": "customer", "iat": NOW_S, "exp": NOW_S + 900}
BUYER = Principal(42, "customer")


@pytest.fixture
def ring(clock: ManualClock) -> KeyRing:
    return KeyRing([KEY, OLD], clock)


def part(content: Any) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(header: Any = HEADER, claims: Any = CLAIMS, key: Key = KEY) -> bytes:
    """A token with exactly these bytes, signed by PyJWT's HS256 whatever its header says."""
    body = part(header) + b"." + part(claims)
    return body + b"." + part(jwt.api_jws.get_default_algorithms()["HS256"].sign(body, key.secret))


def read_by_pyjwt(token: str | bytes, key: Key = KEY) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_iat": False, "require": ["iss", "sub", "iat", "exp"]}
    return jwt.decode(token, key.secret, algorithms=["HS256"], issuer="doorbuster", options=options)


@given(st.integers(0, ID_MAX), st.sampled_from(ROLES), st.integers(1, 10**9))
def test_pyjwt_reads_what_we_sign(account_id: int, role: Any, lifetime_s: int):
    ring = KeyRing([KEY, OLD], ManualClock(NOW_MS))
    token = ring.sign(Principal(account_id, role), lifetime_s)
    assert jwt.get_unverified_header(token) == HEADER
    assert read_by_pyjwt(token) == {
        "iss": "doorbuster",
        "sub": str(account_id),
        "role": role,
        "iat": NOW_S,
        "exp": NOW_S + lifetime_s,
    }
    assert ring.verify(token.encode()) == Principal(account_id, role)


def test_we_read_what_pyjwt_signs_if_its_header_is_ours_byte_for_byte(ring: KeyRing):
    assert ring.verify(signed()) == BUYER
    encoded = jwt.encode(CLAIMS, KEY.secret, "HS256", {"kid": "k1"}).encode()
    assert read_by_pyjwt(encoded) == CLAIMS
    own_header = ring.sign(BUYER, 900).partition(".")[0].encode()
    if encoded.partition(b".")[0] == own_header:
        assert ring.verify(encoded) == BUYER
    else:  # PyJWT writes the fields in another order
        with pytest.raises(InvalidToken):
            ring.verify(encoded)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": "k1", "typ": "JWT"},
        {"alg": "None", "kid": "k1", "typ": "JWT"},
        {"alg": "HS512", "kid": "k1", "typ": "JWT"},
        {"alg": "RS256", "kid": "k1", "typ": "JWT"},
        {"alg": "EdDSA", "kid": "k1", "typ": "JWT"},
        {"alg": "HS256", "kid": "k2", "typ": "JWT"},
        {"alg": "HS256", "kid": "", "typ": "JWT"},
        {"alg": "HS256", "kid": "../k1", "typ": "JWT"},
        {"alg": "HS256", "typ": "JWT"},
        {"alg": "HS256", "kid": "k1"},
        {"typ": "JWT", "alg": "HS256", "kid": "k1"},
        {**HEADER, "jku": "https://example.com/keys"},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "b64": False},
        {},
        [],
        "k1",
        b"",
        b'{"alg": "HS256", "kid": "k1", "typ": "JWT"}',
    ],
    ids=str,
)
def test_no_other_header_is_accepted_however_well_it_is_signed(ring: KeyRing, header: Any):
    with pytest.raises(InvalidToken):
        ring.verify(signed(header))


def test_alg_none_without_a_signature_is_refused(ring: KeyRing):
    unsigned = jwt.encode(CLAIMS, None, "none", {"kid": "k1"}).encode()  # type: ignore[arg-type]
    header, claims, _ = signed().split(b".")
    for token in (
        unsigned,
        header + b"." + claims + b".",
        header + b"." + claims,
        part({"alg": "none"}) + b"." + claims,
    ):
        with pytest.raises(InvalidToken):
            ring.verify(token)


def test_every_flipped_bit_is_noticed(ring: KeyRing):
    token = signed()
    assert ring.verify(token) == BUYER
    for at in range(len(token)):
        for bit in range(8):
            forged = bytearray(token)
            forged[at] ^= 1 << bit
            with pytest.raises(InvalidToken):
                ring.verify(bytes(forged))


def test_every_missing_added_or_swapped_byte_is_noticed(ring: KeyRing):
    token = signed()
    for at in range(len(token) + 1):
        for forged in (token[:at] + token[at + 1 :], token[:at] + b"A" + token[at:], token[at:] + token[:at]):
            if forged != token:
                with pytest.raises(InvalidToken):
                    ring.verify(forged)


def test_parts_of_two_tokens_make_no_third(ring: KeyRing):
    ours, theirs = signed().split(b"."), signed(claims={**CLAIMS, "sub": "43", "role": "admin"}).split(b".")
    for choice in range(1, 7):
        mixed = b".".join((ours, theirs)[choice >> n & 1][n] for n in range(3))
        if mixed not in (b".".join(ours), b".".join(theirs)):
            with pytest.raises(InvalidToken):
                ring.verify(mixed)


@pytest.mark.parametrize("padding", [b"=", b"==", b"\n", b" ", b"."])
def test_a_token_has_one_spelling(ring: KeyRing, padding: bytes):
    for forged in (signed() + padding, padding + signed(), signed().replace(b".", padding + b".", 1)):
        with pytest.raises(InvalidToken):
            ring.verify(forged)


@given(st.binary(max_size=300) | st.text(alphabet="eyJhbGciOiJIUzI1NiJ9._-=", max_size=200).map(str.encode))
def test_junk_is_refused_and_never_an_error(junk: bytes):
    with pytest.raises(InvalidToken):
        KeyRing([KEY], ManualClock(NOW_MS)).verify(junk)


@pytest.mark.parametrize(
    "claims",
    [
        {**CLAIMS, "iss": "another-shop"},
        {**CLAIMS, "role": "root"},
        {**CLAIMS, "role": ["admin"]},
        {**CLAIMS, "sub": 42},
        {**CLAIMS, "sub": ""},
        {**CLAIMS, "sub": "me"},
        {**CLAIMS, "exp": "never"},
        {**CLAIMS, "exp": None},
        {name: value for name, value in CLAIMS.items() if name != "exp"},
        {name: value for name, value in CLAIMS.items() if name != "role"},
        {},
        [],
        b"",
        b"\xff",
    ],
    ids=str,
)
def test_claims_that_are_not_ours_are_refused_although_the_signature_is(ring: KeyRing, claims: Any):
    """Another service may share the key by mistake."""
    with pytest.raises(InvalidToken):
        ring.verify(signed(claims=claims))


def test_a_token_expires_to_the_second(ring: KeyRing, clock: ManualClock):
    token = ring.sign(BUYER, 900).encode()
    clock.advance(900_000 - 1 - NOW_MS % 1000)
    assert ring.verify(token) == BUYER
    clock.advance(1)
    with pytest.raises(ExpiredToken):
        ring.verify(token)


def test_a_forged_token_is_invalid_before_it_is_expired(ring: KeyRing):
    """An answer that tells them apart would tell which forgeries are signed well."""
    with pytest.raises(InvalidToken):
        ring.verify(signed(claims={**CLAIMS, "exp": 1}, key=OLD))


def test_rotation(clock: ManualClock):
    before = KeyRing([OLD], clock)
    old_token = before.sign(BUYER, 900).encode()
    during = KeyRing([KEY, OLD], clock)
    new_token = during.sign(BUYER, 900).encode()
    after = KeyRing([KEY], clock)
    assert jwt.get_unverified_header(new_token)["kid"] == "k1", "the first key signs"
    assert during.verify(old_token) == during.verify(new_token) == after.verify(new_token) == BUYER
    for ring, token in ((before, new_token), (after, old_token)):
        with pytest.raises(InvalidToken):
            ring.verify(token)


def test_a_key_does_not_verify_under_the_name_of_another(ring: KeyRing):
    with pytest.raises(InvalidToken):
        ring.verify(signed({**HEADER, "kid": "k1"}, key=OLD))
    with pytest.raises(InvalidToken):
        ring.verify(signed({**HEADER, "kid": "k0"}, key=KEY))


def test_a_ring_needs_a_key(clock: ManualClock):
    with pytest.raises(ValueError, match="needs a key"):
        KeyRing([], clock)


def test_a_token_is_bounded(ring: KeyRing):
    with pytest.raises(InvalidToken):
        ring.verify(signed(claims={**CLAIMS, "sub": "4" * TOKEN_BYTES_MAX}))


def test_keys_survive_their_text():
    keys = [Key.generate() for _ in range(50)]
    assert [Key.parse(key.render()) for key in keys] == keys
    assert len({key.secret for key in keys}) == 50
    assert {len(key.secret) for key in keys} == {32}
    assert Key.parse(f"{KEY.render()}=") == KEY, "with the padding that others write"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "k1",
        "k1:",
        f":{'A' * 43}",
        f"k1:{'A' * 42}",
        f"k 1:{'A' * 43}",
        f'k"1:{"A" * 43}',
        f"k1:{'A' * 41}é",
        f"k1:{'A' * 20}:{'A' * 23}",
        f"k1:{'A' * 40}!!!{'A' * 3}",
        f"k1:{'A' * 40}+/+",
        f"k1:{'A' * 42}B",
    ],
)
def test_what_is_no_key_is_refused_without_being_quoted(text: str):
    with pytest.raises(ValueError) as refused:
        Key.parse(text)
    assert "AAAA" not in str(refused.value)
