"""CAPTION producer/openai."""
