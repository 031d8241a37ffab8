"""Conversion of a version's encoder to another engine or precision."""
