"""CAPTION worker/model/cascade."""
