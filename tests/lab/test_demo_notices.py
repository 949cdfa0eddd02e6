"""What the demo's second act counts: nothing missing, nothing twice, nothing forged, or its verdict is no."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
import pytest

from doorbuster.lab.demo.life import ENDS, Life
from doorbuster.lab.demo.notices import Notified, Told
from doorbuster.lab.demo.support import Chat
from doorbuster.lab.demo.takeout import STATUSES, Ride
from doorbuster.lab.demo.webhooks import merchant_server
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.lab.stampede import Pool

MEI = "mei@customer.example"
MAIL = Told(MEI, "email", "order-paid", "17")
PUSH = Told(MEI, "push", "order-paid", "17")
HOOK = Told("merchant@doorbuster.example", "webhook", "order.paid", "17")
EXPECTED = Counter((MAIL, PUSH, HOOK))
RIDE = Ride(2, 1, 8, 8, STATUSES)
CHAT = Chat(7, 7, 0, 0)
TOLD = Notified.of(EXPECTED, Counter(EXPECTED))


def test_each_once_is_what_is_wanted() -> None:
    assert (TOLD.ok, TOLD.in_app, TOLD.email, TOLD.webhook) == (True, 1, 1, 1)


@pytest.mark.parametrize(
    ("seen", "missing", "twice", "words"),
    [
        (Counter((MAIL, PUSH)), 1, 0, ["missing: order.paid 17 to merchant@doorbuster.example by webhook × 1"]),
        (
            Counter((MAIL, MAIL, MAIL, PUSH, HOOK)),
            0,
            2,
            [f"too many: order-paid 17 to {MEI} by email × 2"],
        ),
        (Counter((MAIL, PUSH, HOOK, Told("jan@x", "email", "Win", ""))), 0, 1, ["too many: Win to jan@x by email × 1"]),
    ],
)
def test_what_is_missing_or_twice_is_counted_and_named(
    seen: Counter[Told], missing: int, twice: int, words: list[str]
) -> None:
    told = Notified.of(EXPECTED, seen)
    assert (told.ok, told.missing, told.twice, told.wrong) == (False, missing, twice, words)


def life(**different: object) -> Life:
    usual = {
        "orders": ENDS,
        "stock": [],
        "money": [],
        "delivery": RIDE,
        "support": CHAT,
        "notifications": TOLD,
        "problems": [],
    }
    return Life.of(**{**usual, **different})


def test_a_whole_life_is_ok() -> None:
    assert life().ok
    assert msgspec.json.decode(msgspec.json.encode(life()))["orders"] == ENDS


@pytest.mark.parametrize(
    "different",
    [
        {"orders": {**ENDS, "completed": 1, "paid": 1}},
        {"stock": ["Bag: 199 available, 200 expected"]},
        {"money": ["order 17: 0 here, 1990 at the provider"]},
        {"delivery": Ride(2, 1, 8, 7, STATUSES)},
        {"delivery": Ride(2, 1, 8, 8, STATUSES[:-1])},
        {"delivery": Ride()},
        {"support": Chat(7, 6, 0, 0)},
        {"support": Chat(7, 7, 1, 0)},
        {"support": Chat(7, 7, 0, 1)},
        {"support": Chat()},
        {"notifications": Notified.of(EXPECTED, Counter((MAIL, PUSH)))},
        {"notifications": Notified.of(EXPECTED, Counter(EXPECTED), forged=1)},
        {"problems": ["parcel: broke off"]},
    ],
)
def test_whatever_is_wrong_makes_the_verdict_no(different: dict[str, object]) -> None:
    assert not life(**different).ok


async def test_the_merchants_server_believes_what_is_signed_and_wants_the_first_one_twice() -> None:
    body = b'{"id":"orders-1","type":"order.paid","at":"now","data":{"order_id":"17"}}'
    async with merchant_server() as server, Pool(server.url.removesuffix("/webhooks")) as http:
        server.secret, server.merchant = "a secret of the endpoint", HOOK.whom
        signed = {"Doorbuster-Signature": sign((server.secret.encode(),), int(time.time()), body)}
        others = {"Doorbuster-Signature": sign((b"another secret",), int(time.time()), body)}
        statuses = [
            (await http.request("POST", "/webhooks", headers, body)).status
            for headers in (signed, signed, others, {}, {"Doorbuster-Signature": "t=x,v1=y"})
        ]
        assert statuses == [503, 200, 401, 401, 401]
        assert [Told(*each) for each in server.accepted] == [HOOK]
        assert server.forged == 3
