"""CAPTION stack/local."""
