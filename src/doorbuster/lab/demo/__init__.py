"""The demonstration: a shop, a crowd, a payment provider that misbehaves, and the proof afterwards."""
