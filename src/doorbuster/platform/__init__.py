"""Engines behind ports: databases, the event bus, HTTP, settings, telemetry. Knows nothing of the business."""
