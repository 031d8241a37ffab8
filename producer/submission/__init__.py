"""CAPTION producer/submission."""
