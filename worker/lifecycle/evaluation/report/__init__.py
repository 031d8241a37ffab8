"""The page that `model evaluate --report` writes, and what is counted for it alone."""
