"""CAPTION worker/jobs."""
