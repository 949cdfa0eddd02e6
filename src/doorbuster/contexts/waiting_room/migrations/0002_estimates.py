"""Between which bounds the flow of a room has been lately."""

import sqlalchemy as sa
from alembic import op

revision = "0002_estimates"


def upgrade() -> None:
    for name in ("flow_high", "flow_low"):
        op.add_column("rooms", sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE rooms SET flow_high = flow, flow_low = flow")
