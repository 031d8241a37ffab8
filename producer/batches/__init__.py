"""Use cases on a stored batch: status, cancel and retry."""
