"""CAPTION worker/lifecycle/cli."""
