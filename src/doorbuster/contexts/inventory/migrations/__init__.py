"""The history of the flash sale's tables."""
