"""Accounts: registration, sessions, addresses."""
