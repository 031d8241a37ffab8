"""CAPTION producer/results."""
