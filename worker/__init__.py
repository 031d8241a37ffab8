"""Answers: claims jobs, runs the model over them, stores the results."""
