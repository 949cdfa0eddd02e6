"""Limiters: how often somebody may ask. In process and on Redis, with thresholds that may change while running."""
