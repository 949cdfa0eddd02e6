"""Inventory: what lies where, what is promised of it, and every movement that led there."""
