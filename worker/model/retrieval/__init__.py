"""Retrieval: entries ranked for a question, and their confidence."""
