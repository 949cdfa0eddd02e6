"""Support over HTTP and over WebSocket."""
