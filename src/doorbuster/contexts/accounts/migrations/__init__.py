"""Migrations of the accounts context."""
