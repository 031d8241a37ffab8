"""CAPTION worker/recovery."""
