"""The page of `model evaluate --report`, and analyses for it alone."""
