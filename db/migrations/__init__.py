"""Alembic migrations and the code that runs them."""
