"""Servers elsewhere: requests, streams and WebSockets passed on to them."""
