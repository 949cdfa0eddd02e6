"""Durable counts, changed in the transaction of what they count."""

from __future__ import annotations

import sqlite3

_ADD = """
INSERT INTO counters (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = value + excluded.value
"""


def add(connection: sqlite3.Connection, name: str, value: int = 1) -> None:
    """Add ``value`` to the counter; the first use creates it, zero writes nothing."""
    if value:
        connection.execute(_ADD, (name, value))


def read_all(connection: sqlite3.Connection) -> dict[str, int]:
    """Every counter by name."""
    return dict(connection.execute("SELECT name, value FROM counters"))
