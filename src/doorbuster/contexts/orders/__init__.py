"""Orders: what was bought, what is owed for it, and how far it has come."""
