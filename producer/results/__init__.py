"""Results of a batch, read page by page and exported."""
