"""Logs and named crash points."""
