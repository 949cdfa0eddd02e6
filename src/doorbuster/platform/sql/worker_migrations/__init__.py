"""The history of the worker numbers' table."""
