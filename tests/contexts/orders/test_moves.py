"""An order moves along its table or not at all: in the code, in the database, and as the books see it."""

from __future__ import annotations

import itertools
import typing

import pytest
import sqlalchemy as sa

from conftest import OpenDatabase
from contexts.orders.ordering_shop import PAY_WITHIN_MS, OrderingShop, shopper
from doorbuster.contexts.orders import store
from doorbuster.contexts.orders.model import MOVES, IllegalMove, Who, check_move
from doorbuster.contexts.orders.tables import lines, metadata, moves, orders
from doorbuster.platform.sql.errors import RowRejected

PAIRS = list(itertools.product(MOVES, MOVES))


@pytest.mark.parametrize(("start", "end"), [pair for pair in PAIRS if pair[1] not in MOVES[pair[0]]])
def test_what_is_not_in_the_table_is_an_illegal_move(start: str, end: str) -> None:
    with pytest.raises(IllegalMove, match=f"{start} → {end}"):
        check_move(start, end, "support")


@pytest.mark.parametrize(("start", "end"), [(start, end) for start in MOVES for end in MOVES[start]])
def test_a_move_is_made_by_those_the_table_names(start: str, end: str) -> None:
    everybody = frozenset(typing.get_args(Who))
    assert MOVES[start][end] < everybody
    assert MOVES[start][end]
    for who in MOVES[start][end]:
        check_move(start, end, who)
    for who in everybody - MOVES[start][end]:
        with pytest.raises(IllegalMove, match=f"{start} → {end} is not for {who}"):
            check_move(start, end, who)


def test_money_that_came_in_can_only_go_back_by_a_refund() -> None:
    holding_money = {"paid", "shipped", "delivering", "completed", "refunding"}
    for start in holding_money:
        assert set(MOVES[start]) <= holding_money | {"refunded"}
    assert MOVES["refunded"] == {}


async def test_an_illegal_move_reaches_no_row(shop: OrderingShop) -> None:
    order_id = await shop.place()
    before = await shop.everything()
    for end in ("refunded", "shipped", "refunding", "completed", "pending_payment"):
        with pytest.raises(IllegalMove):
            await shop.database.write(
                lambda tx, end=end: store.move(
                    tx, [order_id], "pending_payment", end, who="support", actor="t", cause="t", now_ms=0, payment_id=1
                )
            )
    assert await shop.everything() == before


async def test_a_move_changes_only_orders_that_stand_where_it_begins(shop: OrderingShop) -> None:
    paid, _ = await shop.place_and_pay()
    pending, other = await shop.place_all(2)

    def cancel(tx: store.Tx) -> list[store.Moved]:
        ids = [paid, pending, 404]
        return store.move(tx, ids, "pending_payment", "cancelled", who="customer", actor="t", cause="t", now_ms=1)

    assert [moved.id for moved in await shop.database.write(cancel)] == [pending]
    assert await shop.status(paid) == "paid"
    assert await shop.status(other) == "pending_payment"


@pytest.mark.parametrize("status", ["paid", "shipped", "delivering", "completed", "refunding", "refunded"])
async def test_the_database_knows_no_such_order_without_a_payment(shop: OrderingShop, status: str) -> None:
    order_id = await shop.place()
    with pytest.raises(RowRejected):
        await shop.tamper(sa.update(orders).where(orders.c.id == order_id).values(status=status))
    assert await shop.status(order_id) == "pending_payment"


async def test_the_database_knows_no_status_that_is_none(shop: OrderingShop) -> None:
    order_id = await shop.place()
    with pytest.raises(RowRejected):
        await shop.tamper(sa.update(orders).where(orders.c.id == order_id).values(status="lost"))


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(orders).values(total_amount=-1),
        sa.update(lines).values(quantity=0),
        sa.update(orders).values(status=None),
        sa.update(orders).values(customer_id=None),
    ],
)
async def test_the_database_refuses_rows_that_mean_nothing(shop: OrderingShop, statement: sa.Update) -> None:
    await shop.place()
    before = await shop.everything()
    with pytest.raises(RowRejected):
        await shop.tamper(statement)
    assert await shop.everything() == before


async def test_the_tables_are_those_of_the_migrations(shop: OrderingShop, open_database: OpenDatabase) -> None:
    def columns(tx: store.Tx) -> dict[str, dict[str, bool]]:
        inspector = sa.inspect(tx.connection)
        return {
            name: {column["name"]: bool(column["nullable"]) for column in inspector.get_columns(name)}
            for name in metadata.tables
        }

    expected = {
        name: {column.name: bool(column.nullable) for column in table.columns}
        for name, table in metadata.tables.items()
    }
    assert await shop.database.read(columns) == expected


# --- the books ------------------------------------------------------------------------------------------------------


async def test_the_books_of_a_busy_shop_hold(shop: OrderingShop) -> None:
    await shop.place_and_pay()
    cancelled, _ = await shop.place_and_pay()
    await shop.service.cancel(shopper(), cancelled)
    expired = await shop.place()
    payment = shop.desk.open(expired)
    shop.clock.advance(PAY_WITHIN_MS)
    await shop.expiry.sweep()
    await shop.deliver(shop.desk.capture(payment))
    await shop.deliver(shop.desk.refund(payment, "late-payment"))
    await shop.place()
    assert {check.verdict for check in await shop.service.audit()} == {"holds"}


_STATUS, _LEGAL, _TOTAL, _REFUNDS = (
    "order status = last recorded move",
    "every move is legal",
    "order total = sum of its lines",
    "refunds add up",
)


@pytest.mark.parametrize(
    ("name", "corruption"),
    [
        (_STATUS, sa.update(orders).values(status="cancelled")),
        (_STATUS, sa.update(orders).values(version=2)),
        (_STATUS, sa.delete(moves)),
        (_TOTAL, sa.update(orders).values(total_amount=1)),
        (_TOTAL, sa.update(lines).values(quantity=3)),
        (_TOTAL, sa.delete(lines)),
        (_TOTAL, sa.update(orders).values(shipping_amount=1)),
        (_TOTAL, sa.update(orders).values(discount_amount=1)),
        (_REFUNDS, sa.update(orders).values(refunded_amount=1)),
        (_REFUNDS, sa.update(orders).values(status="refunded", payment_id=1)),
        (_LEGAL, sa.update(moves).values(to_status="paid")),
        (_LEGAL, sa.update(moves).values(from_status="paid")),
    ],
)
async def test_each_planted_corruption_is_found_and_named(
    shop: OrderingShop, name: str, corruption: sa.Executable
) -> None:
    order_id = await shop.place()
    await shop.tamper(corruption)
    check = (await shop.checks())[name]
    assert check.verdict == "broken"
    assert str(order_id) in check.breaches[0]


async def test_a_history_that_jumps_is_found_although_the_status_agrees_with_its_end(shop: OrderingShop) -> None:
    order_id = await shop.place()
    jump = {"order_id": order_id, "n": 2, "at_ms": 1, "from_status": "pending_payment", "to_status": "refunded"}
    await shop.tamper(
        sa.insert(moves).values(**jump, actor="t", cause="t"),
        sa.update(orders).values(status="refunded", version=2, payment_id=1),
    )
    assert (await shop.checks())[_STATUS].verdict == "holds"
    check = (await shop.checks())[_LEGAL]
    assert check.breaches == (f"order {order_id}, move 2: pending_payment → refunded",)


async def test_a_history_that_goes_on_behind_the_order_is_found(shop: OrderingShop) -> None:
    order_id = await shop.place()
    more = {"order_id": order_id, "n": 2, "at_ms": 1, "from_status": "pending_payment", "to_status": "paid"}
    await shop.tamper(sa.insert(moves).values(**more, actor="t", cause="t"))
    check = (await shop.checks())[_STATUS]
    assert check.verdict == "broken"
    assert str(order_id) in check.breaches[0]


async def test_moves_of_an_order_that_is_gone_are_found(shop: OrderingShop) -> None:
    order_id = await shop.place()
    await shop.tamper(sa.delete(orders), sa.delete(lines))
    check = (await shop.checks())[_STATUS]
    assert check.verdict == "broken"
    assert str(order_id) in check.breaches[0]


async def test_a_deadline_long_past_is_mentioned_but_not_broken(shop: OrderingShop) -> None:
    await shop.place()
    shop.clock.advance(PAY_WITHIN_MS + 31_000)
    check = (await shop.checks())["payment deadlines kept"]
    assert (check.verdict, check.ok) == ("in flight", True)
    await shop.expiry.sweep()
    assert (await shop.checks())["payment deadlines kept"].verdict == "holds"
