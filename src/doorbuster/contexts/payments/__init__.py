"""Payments: money in through a provider, money back, and a ledger of both."""
