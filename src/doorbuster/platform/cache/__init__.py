"""Copies of what is read often: a local tier, Redis behind it, and a follower that takes back what has changed."""
