"""Tasks, offers, couriers, parcels, and what is seen of them."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.idempotency import metadata as idempotency
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    op.create_table(
        "delivery_orders",
        sa.Column("order_id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("known", sa.Boolean, nullable=False),
        sa.Column("last_entry", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("cancelled_ms", sa.BigInteger),
    )
    op.create_table(
        "tasks",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("merchant_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("pick_up_latitude", sa.Double),
        sa.Column("pick_up_longitude", sa.Double),
        sa.Column("drop_off_latitude", sa.Double),
        sa.Column("drop_off_longitude", sa.Double),
        sa.Column("destination", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("urgent", sa.Boolean, nullable=False),
        sa.Column("courier_id", sa.BigInteger),
        sa.Column("step", sa.Text),
        sa.Column("step_ms", sa.BigInteger),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("ready_ms", sa.BigInteger),
        sa.Column("picked_up_ms", sa.BigInteger),
        sa.Column("delivered_ms", sa.BigInteger),
        sa.Column("alarmed_ms", sa.BigInteger),
        sa.CheckConstraint(
            "status IN ('waiting', 'preparing', 'ready', 'assigned', 'picked_up', 'delivered', 'cancelled')",
            name="known_status",
        ),
        sa.CheckConstraint(
            "(status IN ('assigned', 'picked_up', 'delivered')) = (courier_id IS NOT NULL)", name="carried_by_somebody"
        ),
        sa.CheckConstraint(
            "(status IN ('picked_up', 'delivered')) = (picked_up_ms IS NOT NULL)", name="picked_up_before_delivered"
        ),
        sa.CheckConstraint("(status = 'delivered') = (delivered_ms IS NOT NULL)", name="delivered_at_some_time"),
        sa.CheckConstraint(
            "status IN ('waiting', 'preparing', 'cancelled') "
            "OR (ready_ms IS NOT NULL AND pick_up_latitude IS NOT NULL)",
            name="ready_somewhere",
        ),
        sa.CheckConstraint(
            "step IS NULL OR (step = 'picking_up' AND status = 'assigned') "
            "OR (step = 'delivering' AND status = 'picked_up')",
            name="step_of_its_status",
        ),
        sa.CheckConstraint("(step IS NULL) = (step_ms IS NULL)", name="step_has_a_time"),
        sa.CheckConstraint("(pick_up_latitude IS NULL) = (pick_up_longitude IS NULL)", name="whole_pick_up"),
        sa.CheckConstraint("(drop_off_latitude IS NULL) = (drop_off_longitude IS NULL)", name="whole_drop_off"),
        sa.Index("tasks_of_merchant", "merchant_id", "status", "id"),
        sa.Index(
            "tasks_under_way",
            "status",
            "urgent",
            "ready_ms",
            sqlite_where=sa.text("status NOT IN ('delivered', 'cancelled')"),
            postgresql_where=sa.text("status NOT IN ('delivered', 'cancelled')"),
        ),
        sa.Index(
            "tasks_of_courier",
            "courier_id",
            sqlite_where=sa.text("status IN ('assigned', 'picked_up')"),
            postgresql_where=sa.text("status IN ('assigned', 'picked_up')"),
        ),
        sa.Index(
            "tasks_with_steps",
            "step_ms",
            sqlite_where=sa.text("step_ms IS NOT NULL"),
            postgresql_where=sa.text("step_ms IS NOT NULL"),
        ),
    )
    op.create_table(
        "task_moves",
        sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("from_status", sa.Text),
        sa.Column("to_status", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("courier_id", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "offers",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("courier_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("distance_m", sa.BigInteger, nullable=False),
        sa.CheckConstraint("status IN ('open', 'accepted', 'declined', 'expired', 'withdrawn')", name="known_status"),
        sa.CheckConstraint("(status = 'open') = (ended_ms IS NULL)", name="open_until_ended"),
        sa.Index(
            "one_open_offer_per_task",
            "task_id",
            unique=True,
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        ),
        sa.Index(
            "one_open_offer_per_courier",
            "courier_id",
            unique=True,
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        ),
        sa.Index(
            "offers_to_expire",
            "expires_ms",
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        ),
        sa.Index("offers_of_task", "task_id", "id"),
    )
    op.create_table(
        "exclusions",
        sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("courier_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Index("exclusions_by_age", "until_ms"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "couriers",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("latitude", sa.Double),
        sa.Column("longitude", sa.Double),
        sa.Column("position_ms", sa.BigInteger, nullable=False),
        sa.Column("heard_ms", sa.BigInteger, nullable=False),
        sa.Column("load", sa.Integer, nullable=False),
        sa.Column("idle_since_ms", sa.BigInteger, nullable=False),
        sa.Column("delivered_today", sa.Integer, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
        sa.Column("last_track", sa.BigInteger, nullable=False),
        sa.CheckConstraint("load >= 0", name="load_not_negative"),
        sa.CheckConstraint("online OR load = 0", name="who_carries_is_online"),
        sa.CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="whole_position"),
        sa.Index(
            "couriers_online",
            "idle_since_ms",
            sqlite_where=sa.text("online"),
            postgresql_where=sa.text("online"),
        ),
    )
    op.create_table(
        "courier_track",
        sa.Column("courier_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("latitude", sa.Double, nullable=False),
        sa.Column("longitude", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "merchant_places",
        sa.Column("merchant_id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("latitude", sa.Double, nullable=False),
        sa.Column("longitude", sa.Double, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "shipments",
        sa.Column("order_id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("merchant_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("carrier", sa.Text, nullable=False),
        sa.Column("tracking_number", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("sent_ms", sa.BigInteger),
        sa.Column("last_tracking", sa.Integer, nullable=False, server_default="0"),
        sa.CheckConstraint("status IN ('to_send', 'sending', 'sent', 'cancelled')", name="known_status"),
        sa.CheckConstraint("(status = 'sent') = (sent_ms IS NOT NULL)", name="sent_at_some_time"),
        sa.CheckConstraint("status NOT IN ('sending', 'sent') OR carrier <> ''", name="sent_with_somebody"),
        sa.Index(
            "shipments_sending",
            "changed_ms",
            sqlite_where=sa.text("status = 'sending'"),
            postgresql_where=sa.text("status = 'sending'"),
        ),
        sa.Index("shipments_of_merchant", "merchant_id", "status", "order_id"),
    )
    op.create_table(
        "tracking",
        sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "entries",
        sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    create_tables()
    idempotency.create_all(op.get_bind(), checkfirst=False)
