"""The gateway: which request goes where, and what is done to it on the way. See docs/gateway.md."""
