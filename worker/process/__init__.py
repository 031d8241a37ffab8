"""Processes of a worker: the Celery parent and one child for each replica."""
