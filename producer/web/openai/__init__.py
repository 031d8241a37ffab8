"""CAPTION producer/web/openai."""
