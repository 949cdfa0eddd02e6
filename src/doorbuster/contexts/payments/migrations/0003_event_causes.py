"""Events say which request they happened for, and payments which one opened them."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import add_causes

revision = "0003_event_causes"


def upgrade() -> None:
    add_causes()
    op.add_column("payments", sa.Column("cause", sa.Text, nullable=False, server_default=""))
