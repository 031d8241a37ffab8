"""CAPTION worker/lifecycle/conversion."""
