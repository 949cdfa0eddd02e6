"""Transactions on SQLite and PostgreSQL behind one port, and the tools built on them."""
