"""The history of the support tables."""
