"""Optional OpenTelemetry traces of batches."""
