"""The HTTP API under `/v1`: routes, schemas and uploads."""
