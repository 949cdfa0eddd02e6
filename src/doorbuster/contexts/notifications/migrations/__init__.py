"""The history of the notifications tables."""
