"""CAPTION db/queries."""
