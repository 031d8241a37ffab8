"""CAPTION worker/model/retrieval."""
