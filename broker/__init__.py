"""CAPTION broker."""
