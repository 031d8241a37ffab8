"""CAPTION worker/lifecycle/training."""
