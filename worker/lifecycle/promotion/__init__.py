"""CAPTION worker/lifecycle/promotion."""
