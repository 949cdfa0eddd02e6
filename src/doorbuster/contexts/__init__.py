"""The business: bounded contexts, none of which imports another."""
