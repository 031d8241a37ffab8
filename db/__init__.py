"""What outlives a process: words, settings, tables and the queries on them."""
