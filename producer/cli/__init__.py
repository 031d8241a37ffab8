"""CAPTION producer/cli."""
