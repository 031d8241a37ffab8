"""Webhooks that report the ends of batches: delivery and signed requests."""
