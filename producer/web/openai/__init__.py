"""The OpenAI-compatible files and batches API."""
