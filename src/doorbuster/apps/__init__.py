"""Composition: which rooms stand in a process, how they reach one another, and the command line."""
