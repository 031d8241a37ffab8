"""CAPTION worker/lifecycle/build."""
