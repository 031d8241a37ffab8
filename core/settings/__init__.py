"""CAPTION core/settings."""
