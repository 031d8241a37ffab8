"""API keys, sessions and idempotent requests of the HTTP front."""
