"""Worker numbers."""

from alembic import op

from doorbuster.platform.sql.workers import metadata

revision = "0001_first"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
