"""The history of the delivery tables."""
