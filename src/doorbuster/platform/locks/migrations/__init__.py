"""The history of the locks' tables."""
