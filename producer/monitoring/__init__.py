"""CAPTION producer/monitoring."""
