"""A seeded lunch rush on a virtual clock, to compare dispatch policies on the same orders and couriers."""
