"""The whole of it on one machine."""
