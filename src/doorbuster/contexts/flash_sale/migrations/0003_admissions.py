"""Sales that are entered through a waiting room, and the admissions that were used up."""

import sqlalchemy as sa
from alembic import op

revision = "0003_admissions"


def upgrade() -> None:
    op.add_column("allotments", sa.Column("guarded", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "spent_admissions",
        sa.Column("sale_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ticket_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("order_id", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
