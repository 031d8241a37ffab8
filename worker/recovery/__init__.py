"""Recovery from failures: lease renewal, sweep, circuit breaker."""
