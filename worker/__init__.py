"""Worker: claims jobs, runs the model, and stores the results."""
