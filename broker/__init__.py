"""Redis through Celery, for producers and workers."""
