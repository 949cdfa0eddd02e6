"""Distributed locks. A lock may be lost while its owner sleeps: the fencing token tells the store who came later."""
