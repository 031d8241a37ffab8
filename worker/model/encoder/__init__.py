"""CAPTION worker/model/encoder."""
