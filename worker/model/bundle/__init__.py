"""Bundles: the format, location and transfer of a model version's files."""
