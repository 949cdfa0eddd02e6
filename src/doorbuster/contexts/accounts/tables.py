"""The tables of accounts."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.kernel.principal import ACCOUNT_ROLES
from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("email", sa.Text),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text),
    # Grows when the password is replaced by another one, not when the same one is hashed anew.
    sa.Column("password_version", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("email", name="one_account_per_email"),
    sa.CheckConstraint("email = lower(email)", name="email_is_lower_case"),
    sa.CheckConstraint("(email IS NULL) = (password_hash IS NULL)", name="log_in_needs_both"),
    sa.CheckConstraint(f"role IN ({', '.join(repr(role) for role in ACCOUNT_ROLES)})", name="role_is_known"),
)

addresses = sa.Table(
    "addresses",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("phone", sa.Text, nullable=False),
    sa.Column("country", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("city", sa.Text, nullable=False),
    sa.Column("street", sa.Text, nullable=False),
    sa.Column("postcode", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Index("addresses_of_account", "account_id", "id"),
)

# A family is one log-in: the chain of refresh tokens that were exchanged for one another.
families = sa.Table(
    "refresh_families",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, sa.ForeignKey("accounts.id"), nullable=False),
    # Whence the log-in came (GuessSubjects.from_here).
    sa.Column("origin", sa.LargeBinary, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    # That of its newest token.
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_ms", sa.BigInteger),
    sa.Column("revoked_because", sa.Text),
    sa.CheckConstraint("(revoked_ms IS NULL) = (revoked_because IS NULL)", name="revocation_has_a_cause"),
    sa.Index(
        "live_families_of_account",
        "account_id",
        "id",
        sqlite_where=sa.text("revoked_ms IS NULL"),
        postgresql_where=sa.text("revoked_ms IS NULL"),
    ),
    sa.Index("families_by_origin", "account_id", "origin"),
    sa.Index("families_by_expiry", "expires_ms"),
)

tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("family_id", sa.BigInteger, sa.ForeignKey("refresh_families.id"), nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("rotated_ms", sa.BigInteger),
    # A family never has two tokens that could be exchanged.
    sa.Index(
        "one_current_token_per_family",
        "family_id",
        unique=True,
        sqlite_where=sa.text("rotated_ms IS NULL"),
        postgresql_where=sa.text("rotated_ms IS NULL"),
    ),
    sa.Index("tokens_of_family", "family_id"),
    sa.Index("tokens_by_expiry", "expires_ms"),
)

guesses = sa.Table(
    "password_guesses",
    metadata,
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.Column("guesses", sa.BigInteger, nullable=False),
    sa.CheckConstraint("guesses >= 0", name="guesses_are_counted_from_zero"),
    sa.Index("guesses_by_age", "since_ms"),
)
