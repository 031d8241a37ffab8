"""CAPTION stack/cli."""
