"""Accounts, addresses, sessions, guesses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.idempotency import metadata as idempotency
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("email", sa.Text),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("password_version", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("email", name="one_account_per_email"),
        sa.CheckConstraint("email = lower(email)", name="email_is_lower_case"),
        sa.CheckConstraint("(email IS NULL) = (password_hash IS NULL)", name="log_in_needs_both"),
        sa.CheckConstraint("role IN ('customer', 'courier', 'merchant', 'support', 'admin')", name="role_is_known"),
    )
    op.create_table(
        "addresses",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.BigInteger, sa.ForeignKey("accounts.id"), nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("recipient", "phone", "country", "region", "city", "street", "postcode")
        ),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("addresses_of_account", "addresses", ["account_id", "id"])
    _create_sessions()
    op.create_table(
        "password_guesses",
        sa.Column("subject", sa.LargeBinary, primary_key=True),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("guesses", sa.BigInteger, nullable=False),
        sa.CheckConstraint("guesses >= 0", name="guesses_are_counted_from_zero"),
    )
    op.create_index("guesses_by_age", "password_guesses", ["since_ms"])
    create_tables()
    idempotency.create_all(op.get_bind(), checkfirst=False)


def _create_sessions() -> None:
    op.create_table(
        "refresh_families",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.BigInteger, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("origin", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.Column("revoked_because", sa.Text),
        sa.CheckConstraint("(revoked_ms IS NULL) = (revoked_because IS NULL)", name="revocation_has_a_cause"),
    )
    live = sa.text("revoked_ms IS NULL")
    op.create_index(
        "live_families_of_account",
        "refresh_families",
        ["account_id", "id"],
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("families_by_origin", "refresh_families", ["account_id", "origin"])
    op.create_index("families_by_expiry", "refresh_families", ["expires_ms"])
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("family_id", sa.BigInteger, sa.ForeignKey("refresh_families.id"), nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("rotated_ms", sa.BigInteger),
    )
    current = sa.text("rotated_ms IS NULL")
    op.create_index(
        "one_current_token_per_family",
        "refresh_tokens",
        ["family_id"],
        unique=True,
        sqlite_where=current,
        postgresql_where=current,
    )
    op.create_index("tokens_of_family", "refresh_tokens", ["family_id"])
    op.create_index("tokens_by_expiry", "refresh_tokens", ["expires_ms"])
