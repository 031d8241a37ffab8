"""CAPTION producer/web/live."""
