"""The waiting room over HTTP."""
