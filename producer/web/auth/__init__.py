"""CAPTION producer/web/auth."""
