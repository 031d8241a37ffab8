"""CAPTION producer/batches."""
