"""CAPTION worker/process."""
