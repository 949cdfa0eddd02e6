"""Audit: proves, on a live system, that no unit, order or payment is lost, doubled or made up.

Each context checks its own books on one snapshot. Between contexts, pages of one side are held against the other.
What does not match is a suspect: it may simply be under way. Suspects are looked at again after the consumers have
passed what was committed by then; only what is wrong still is a breach.
"""
