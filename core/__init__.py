"""CAPTION core."""
