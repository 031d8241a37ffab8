"""Metrics of the whole system and spans of submissions."""
