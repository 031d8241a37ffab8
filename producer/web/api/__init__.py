"""CAPTION producer/web/api."""
