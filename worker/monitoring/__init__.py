"""State of a worker for operators: metrics, heartbeat, health check."""
