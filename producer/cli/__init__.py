"""Commands of the producer: options, a use case, its printed result."""
