"""Locks and fences."""

from alembic import op

from doorbuster.platform.locks.tables import metadata

revision = "0001_first"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
