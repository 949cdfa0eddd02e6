"""The tables of payments and the SQL on them. Nobody else names these tables."""
