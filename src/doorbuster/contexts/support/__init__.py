"""Support: conversations between customers and agents."""
