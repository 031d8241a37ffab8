"""CAPTION worker/model/bundle."""
