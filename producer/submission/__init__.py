"""Use cases that store questions and send their jobs."""
