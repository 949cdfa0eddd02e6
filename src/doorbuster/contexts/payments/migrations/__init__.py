"""Migrations of the payments schema, oldest first."""
