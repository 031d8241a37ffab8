"""Evaluation of versions, the promotion gate, and comparisons."""
