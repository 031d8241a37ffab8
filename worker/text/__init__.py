"""CAPTION worker/text."""
