"""The history of the orders' tables."""
