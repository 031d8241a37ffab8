"""The hot path: what a running worker needs of a model version, and nothing of how it was made."""
