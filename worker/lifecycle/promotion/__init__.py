"""Promotion of model versions, and rollback."""
