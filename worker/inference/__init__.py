"""CAPTION worker/inference."""
