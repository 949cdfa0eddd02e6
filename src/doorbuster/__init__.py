"""Doorbuster: a commerce backend for the moment everybody arrives at once."""

__version__ = "0.1.0"
