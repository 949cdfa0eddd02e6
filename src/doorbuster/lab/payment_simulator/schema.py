"""The provider's tables. The database itself refuses a second capture and a refund beyond it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

SCHEMA_VERSION = 2

_TABLES = """
CREATE TABLE IF NOT EXISTS intents (
    id TEXT PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (
        status IN ('requires_payment', 'captured', 'failed', 'refunded', 'cancelled')
    ),
    order_id TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    captured INTEGER NOT NULL CHECK (captured IN (0, amount)),
    refunded INTEGER NOT NULL CHECK (refunded BETWEEN 0 AND captured),
    webhook_url TEXT NOT NULL,
    declines INTEGER NOT NULL,
    protocol TEXT NOT NULL DEFAULT 'simulator' CHECK (protocol IN ('simulator', 'stripe')),
    decline TEXT,
    stage TEXT NOT NULL DEFAULT '',
    method TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    created_ms INTEGER NOT NULL DEFAULT 0,
    CHECK ((status IN ('captured', 'refunded')) = (captured > 0)),
    CHECK ((status = 'refunded') = (captured > 0 AND refunded = captured))
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS statement (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('capture', 'refund')),
    payment_id TEXT NOT NULL REFERENCES intents (id),
    order_id TEXT NOT NULL,
    refund_id TEXT CHECK ((refund_id IS NULL) = (kind = 'capture')),
    amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    protocol TEXT NOT NULL DEFAULT 'simulator',
    metadata TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_capture_per_payment ON statement (payment_id) WHERE kind = 'capture';
CREATE UNIQUE INDEX IF NOT EXISTS one_row_per_refund ON statement (refund_id) WHERE kind = 'refund';

CREATE INDEX IF NOT EXISTS refunds_by_payment ON statement (payment_id, seq) WHERE kind = 'refund';

CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('genuine', 'duplicate', 'forged')),
    payment_id TEXT NOT NULL,
    url TEXT NOT NULL,
    body BLOB NOT NULL,
    forgery TEXT CHECK ((forgery IS NULL) = (kind <> 'forged')),
    due_ms INTEGER NOT NULL,
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    tries INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'abandoned')),
    protocol TEXT NOT NULL DEFAULT 'simulator'
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_ms, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_held ON deliveries (payment_id, id) WHERE held = 1;

CREATE TABLE IF NOT EXISTS idempotency_keys (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

_FROM_VERSION_1 = """
ALTER TABLE intents ADD COLUMN protocol TEXT NOT NULL DEFAULT 'simulator'
    CHECK (protocol IN ('simulator', 'stripe'));
ALTER TABLE intents ADD COLUMN decline TEXT;
ALTER TABLE intents ADD COLUMN stage TEXT NOT NULL DEFAULT '';
ALTER TABLE intents ADD COLUMN method TEXT;
ALTER TABLE intents ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
ALTER TABLE intents ADD COLUMN created_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE statement ADD COLUMN protocol TEXT NOT NULL DEFAULT 'simulator';
ALTER TABLE statement ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deliveries ADD COLUMN protocol TEXT NOT NULL DEFAULT 'simulator';
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file, durable at every commit and locked against a second process.

    Raises:
        sqlite3.Error: it is not a database, another simulator has it, or a later version wrote it.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.5)
    try:
        _prepare(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"the file has schema {found}, this simulator writes {SCHEMA_VERSION}")
    if found == 1:
        connection.executescript(f"BEGIN; {_FROM_VERSION_1} PRAGMA user_version = 2; COMMIT;")
    connection.executescript(_TABLES)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
