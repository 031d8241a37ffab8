"""CAPTION stack/retention."""
