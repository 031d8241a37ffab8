"""Long polling and server-sent events, each with one query loop."""
