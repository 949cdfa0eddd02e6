"""Notifications: who is told what, and by which way."""
