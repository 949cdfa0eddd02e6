"""The history of the waiting room's tables."""
