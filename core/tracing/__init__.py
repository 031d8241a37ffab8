"""CAPTION core/tracing."""
