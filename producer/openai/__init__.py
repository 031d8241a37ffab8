"""Batch files in the format of OpenAI: requests in, responses out."""
