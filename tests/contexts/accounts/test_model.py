"""The rules without a database."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from doorbuster.contexts.accounts import model
from doorbuster.contexts.accounts.model import NewAddress, PresentedToken
from doorbuster.contracts.accounts import InvalidEmail, InvalidText, WeakPassword

PARCEL = NewAddress("Ann", "+86 10 1234 5678", "CN", "", "北京", "长安街 1", "100000")
FRESH = PresentedToken(1, 2, "customer", expires_ms=1000, rotated_ms=None, revoked_ms=None)


def test_an_email_address_is_kept_in_lower_case():
    assert model.normalised_email("Ann.O'Neil+shop@Example.ORG") == "ann.o'neil+shop@example.org"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ann",
        "ann@",
        "@example.org",
        "ann@example.org\n",
        " ann@example.org",
        "ann@exa mple.org",
        "ann@-example.org",
        "ann@example.org\x00",
        "ann@ex\u0430mple.org",  # a Cyrillic letter that looks like an a
        "\u212ann@example.org",  # a Kelvin sign, whose lower case is k
        "a" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org",
        "a@" + "b." * 130 + "org",
        "ann@example.org,bob@example.org",
    ],
)
def test_what_is_no_email_address_is_refused(email: str):
    with pytest.raises(InvalidEmail):
        model.normalised_email(email)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short pass"[:9],
        "1234567890",
        "PassWord123",
        "ANN@example.ORG",
        "x" * 129,
        "ﬁ" * 129,
        "\uff11234567890",  # a full-width 1: the same digits once normalised
    ],
)
def test_a_password_that_is_short_long_or_obvious_is_refused(password: str):
    with pytest.raises(WeakPassword):
        model.checked_password(password, "ann@example.org")


@pytest.mark.parametrize("password", ["correct horse", "密码密码密码密码密码", "x" * 127 + "y", "\x00" * 9 + "abc"])
def test_any_other_password_of_10_to_128_characters_is_accepted(password: str):
    assert model.checked_password(password, "ann@example.org") == password


def test_the_same_password_composed_differently_is_the_same():
    composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
    assert model.checked_password(composed, "a@b.c") == model.normalised_password(decomposed)


def test_text_is_trimmed_at_its_end_and_may_be_in_any_script():
    assert model.plain_text("name", "李小龙 👩\u200d🚀 \n", 100) == "李小龙 👩\u200d🚀"


@pytest.mark.parametrize("text", ["", " ", " Ann", "An\x00n", "An\nn", "\u202eAnn", "A\u2066nn", "x" * 101])
def test_text_that_is_empty_long_or_deceptive_is_refused_by_name_of_its_field(text: str):
    with pytest.raises(InvalidText) as refused:
        model.plain_text("name", text, 100)
    assert refused.value.extra == {"field": "name"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipient", ""),
        ("phone", "call me"),
        ("phone", "12345\n"),
        ("country", "cn"),
        ("country", "CHN"),
        ("region", "\x00"),
        ("city", ""),
        ("street", "x" * 201),
        ("postcode", "1" * 21),
    ],
)
def test_an_address_with_an_impossible_field_is_refused(field: str, value: str):
    with pytest.raises(InvalidText) as refused:
        model.checked_address(replace(PARCEL, **{field: value}))
    assert refused.value.extra == {"field": field}


def test_region_and_postcode_of_an_address_may_be_empty():
    bare = replace(PARCEL, region="", postcode="")
    assert model.checked_address(bare) == bare


def test_a_refresh_token_is_exchanged_until_the_moment_it_expires():
    assert model.judge_refresh(FRESH, 999) == "rotate"
    assert model.judge_refresh(FRESH, 1000) == "refuse"
    assert model.judge_refresh(None, 0) == "refuse"


def test_an_exchanged_token_is_a_reuse_also_after_its_expiry_unless_its_family_has_ended():
    exchanged = replace(FRESH, rotated_ms=500)
    assert model.judge_refresh(exchanged, 501) == "reused"
    assert model.judge_refresh(exchanged, 2000) == "reused"
    assert model.judge_refresh(replace(exchanged, revoked_ms=600), 601) == "refuse"
    assert model.judge_refresh(replace(FRESH, revoked_ms=600), 601) == "refuse"


def test_one_place_is_an_ipv4_address_or_an_ipv6_network_of_one_subscriber():
    def here(address: str) -> bytes:
        return model.guess_subjects("ann@example.org", address).from_here

    assert here("192.0.2.1") != here("192.0.2.2")
    assert here("192.0.2.1") == here("::ffff:192.0.2.1")
    assert here("2001:db8::1") == here("2001:db8:0:0:ffff::2")
    assert here("2001:db8::1") != here("2001:db8:0:1::1")
    assert here("") == here("no address at all")


def test_guesses_are_counted_per_email_address():
    ann, bob = (model.guess_subjects(email, "192.0.2.1") for email in ("ann@example.org", "bob@example.org"))
    assert len({ann.from_here, ann.from_anywhere, bob.from_here, bob.from_anywhere}) == 4
