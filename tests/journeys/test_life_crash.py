"""kill -9 at every crash point of delivery, notifications and support, in a whole shop.

What was acknowledged before is there after the restart; what was begun is carried on, so that the audit holds with
nothing under way; and the same story, told again, comes to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journeys import things
from journeys.api_shop import ApiShop, eventually
from journeys.mortal_shop import MortalShop, mortal_shop

QUICK = {
    "DOORBUSTER_DELIVERY_ROUND_S": "0.05",
    "DOORBUSTER_DELIVERY_LOAD_MAX": "1",
    "DOORBUSTER_DELIVERY_POSITION_EVERY_MS": "0",
    "DOORBUSTER_DELIVERY_POSITION_FRESH_S": "3600",
    "DOORBUSTER_DELIVERY_OFFER_S": "2",
    "DOORBUSTER_DELIVERY_EXCLUDED_S": "1",
    "DOORBUSTER_DELIVERY_RESUME_AFTER_S": "1",
    "DOORBUSTER_SUPPORT_ANSWER_WITHIN_S": "1",
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[MortalShop]:
    with mortal_shop(tmp_path, QUICK) as shop:
        yield shop


# --- stories: each ends with what must be true of the rows behind it --------------------------------------------------


def a_parcel_is_sent(shop: ApiShop) -> None:
    order_id = things.a_sent_order(shop, "owner")
    assert shop.status_of({"id": order_id}) == "shipped"
    assert shop.get(f"/v1/orders/{order_id}/tracking", "owner")["shipment"]["status"] == "sent"


def a_meal_is_delivered(shop: ApiShop) -> None:
    order_id = things.a_carried_meal(shop, "courier")
    shop.post(f"/v1/courier/tasks/{order_id}/deliver", "courier", None, 200)
    assert shop.status_of({"id": order_id}) == "completed"


def a_customer_is_told(shop: ApiShop) -> None:
    """Of each event once."""
    order_id = things.a_paid_order(shop, "owner")

    def told() -> list[str]:
        found = shop.get("/v1/me/notifications?limit=100", "owner")["items"]
        return sorted(each["kind"] for each in found if each["about"].get("order_id") == order_id)

    eventually(lambda: told() == ["order-paid", "order-placed"], f"told of {order_id}")


def help_is_asked_for(shop: ApiShop) -> None:
    conversation_id = things.a_taken_conversation(shop, "owner")
    shop.post(f"/v1/conversations/{conversation_id}/messages", "support", {"text": "how can I help?"})
    found = shop.get(f"/v1/conversations/{conversation_id}/messages", "owner")["items"]
    assert [each["text"] for each in found] == ["hello", "how can I help?"]


def nobody_answers(shop: ApiShop) -> None:
    """The conversation goes back into the queue."""
    conversation_id = things.a_taken_conversation(shop, "owner")

    def waits() -> bool:
        return shop.get(f"/v1/conversations/{conversation_id}", "owner")["agent_id"] is None

    eventually(waits, "it waits for another agent")


STORIES: dict[str, Callable[[ApiShop], None]] = {
    "delivery.orders-not-committed": a_parcel_is_sent,
    "delivery.parcel-sending": a_parcel_is_sent,
    "delivery.parcel-sent-off": a_parcel_is_sent,
    "delivery.round-decided": a_meal_is_delivered,
    "delivery.offers-made": a_meal_is_delivered,
    "delivery.accepted-not-committed": a_meal_is_delivered,
    "notifications.noted-not-committed": a_customer_is_told,
    "notifications.addressed-not-committed": a_customer_is_told,
    "notifications.addressed": a_customer_is_told,
    "support.message-not-committed": help_is_asked_for,
    "support.message-committed": help_is_asked_for,
    "support.taken-not-committed": help_is_asked_for,
    "support.swept": nobody_answers,
}

TIMES = {"notifications.noted-not-committed": 2}
"""Not the first time: that is when the people of the shop were hired."""


@pytest.mark.parametrize("point", STORIES)
def test_a_crash_at_a_named_point_loses_and_doubles_nothing(shop: MortalShop, point: str) -> None:
    story = STORIES[point]
    known: dict[str, str] = {}

    def told(living: ApiShop) -> None:
        living.acknowledged = known  # also what comes before a crash in the middle
        story(living)

    shop.die_at(f"{point}:{TIMES.get(point, 1)}", told)  # SIGKILL
    assert known, "somebody was promised something before the crash"
    with shop.serving() as risen:
        for path, who in known.items():
            assert risen.ask("GET", path, who).is_success, f"{who} lost {path}"
        shop.audited()
        story(risen)
        shop.audited()
