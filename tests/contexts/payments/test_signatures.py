"""Only the provider can sign, and only for a while."""

from __future__ import annotations

import random

import pytest

from doorbuster.contexts.payments.signatures import SECRETS_MAX, Verifier
from doorbuster.contracts.payments import WebhookSignatureInvalid, WebhookStale
from doorbuster.lab.payment_simulator.signatures import sign

NOW_MS = 1_790_000_000_000
NOW_S = NOW_MS // 1000
BODY = b'{"id":"evt_1","type":"payment.captured","data":{"amount":1990}}'
OLD, NEW = "old secret", "new secret"


def signed(*secrets: str, at_s: int = NOW_S, body: bytes = BODY) -> str:
    return sign(tuple(secret.encode() for secret in secrets), at_s, body)


def refused(verifier: Verifier, header: str | None, body: bytes = BODY) -> bool:
    try:
        verifier.verify(header, body, NOW_MS)
    except WebhookSignatureInvalid:
        return True
    return False


def test_a_genuine_signature_is_taken():
    Verifier([NEW], 300).verify(signed(NEW), BODY, NOW_MS)


@pytest.mark.parametrize("ours", [(NEW,), (OLD,), (NEW, OLD), (OLD, NEW)])
@pytest.mark.parametrize("theirs", [(NEW,), (OLD,), (NEW, OLD), (OLD, NEW)])
def test_while_secrets_rotate_one_in_common_is_enough(ours: tuple[str, ...], theirs: tuple[str, ...]):
    assert refused(Verifier(ours, 300), signed(*theirs)) == (not set(ours) & set(theirs))


def test_no_flipped_bit_of_the_signature_is_taken():
    verifier, header = Verifier([NEW], 300), signed(NEW)
    for place in range(len(header)):
        for bit in range(8):
            flipped = header[:place] + chr(ord(header[place]) ^ 1 << bit) + header[place + 1 :]
            assert refused(verifier, flipped), f"bit {bit} of byte {place}: {flipped!r}"


def test_no_flipped_bit_of_the_body_is_taken():
    verifier, header = Verifier([NEW], 300), signed(NEW)
    for place in range(len(BODY)):
        for bit in range(8):
            flipped = bytearray(BODY)
            flipped[place] ^= 1 << bit
            assert refused(verifier, header, bytes(flipped))


def test_a_hundred_thousand_forgeries_are_refused():
    dice, verifier, header = random.Random(8), Verifier([NEW, OLD], 300), signed(NEW, OLD)
    taken = 0
    for _ in range(100_000):
        body, text = bytearray(BODY), bytearray(header, "ascii")
        target = body if dice.random() < 0.5 else text
        for _ in range(dice.randint(1, 4)):
            target[dice.randrange(len(target))] = dice.randrange(256)
        if bytes(body) == BODY and bytes(text) == header.encode():
            continue
        # One of two signatures may be spoilt: the other one still proves the body.
        if bytes(body) == BODY and any(part in text.decode("latin-1") for part in header.split(",")[1:]):
            continue
        taken += not refused(verifier, text.decode("latin-1"), bytes(body))
    assert taken == 0


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=,v1=",
        f"t={NOW_S}",
        f"v1={'0' * 64}",
        f"t={NOW_S},v1={'0' * 63}",
        f"t={NOW_S},v1={'0' * 64}",
        f"t=-1,v1={'0' * 64}",
        f"t={'9' * 400},v1={'0' * 64}",
        f"t={NOW_S},v1={'é' * 64}",
        f"t={NOW_S}" + f",v1={'0' * 64}" * 9,
        signed(NEW).upper(),
        f" {signed(NEW)}",
        f"{signed(NEW)}\n",
        signed(NEW).replace("v1", "v0"),
        signed(""),
    ],
)
def test_what_is_no_signature_is_refused(header: str | None):
    assert refused(Verifier([NEW], 300), header)


def test_a_signature_belongs_to_its_time():
    header = signed(NEW)
    assert refused(Verifier([NEW], 300), header.replace(str(NOW_S), str(NOW_S + 1)))
    assert refused(Verifier([NEW], 300), header.replace("t=", "t=0"))


@pytest.mark.parametrize(("seconds", "stale"), [(-301, True), (-300, False), (0, False), (300, False), (301, True)])
def test_stale_and_future_signatures_are_refused(seconds: int, stale: bool):
    verifier, header = Verifier([NEW], 300), signed(NEW, at_s=NOW_S + seconds)
    if not stale:
        verifier.verify(header, BODY, NOW_MS)
        return
    with pytest.raises(WebhookStale):
        verifier.verify(header, BODY, NOW_MS)


def test_a_forgery_does_not_learn_that_it_is_stale():
    assert refused(Verifier([NEW], 300), signed(OLD, at_s=1))


def test_nobody_signs_with_nothing():
    assert refused(Verifier([], 300), signed(NEW))
    for secrets in ([""], [NEW, ""], [NEW] * (SECRETS_MAX + 1)):
        with pytest.raises(ValueError, match="webhook secrets"):
            Verifier(secrets, 300)
