"""Column types that the dialects spell differently."""

from __future__ import annotations

import sqlalchemy as sa

BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A 64-bit primary key. Only INTEGER PRIMARY KEY is SQLite's own row id; BIGINT would cost a second index."""
