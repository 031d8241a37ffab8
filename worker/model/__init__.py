"""A loaded model version: encoder, retrieval and cascade."""
