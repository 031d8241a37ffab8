"""CAPTION worker/lifecycle/evaluation."""
