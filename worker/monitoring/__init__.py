"""CAPTION worker/monitoring."""
