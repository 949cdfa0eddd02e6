"""Delivery: parcels and couriers, and where they are."""
