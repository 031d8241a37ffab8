"""The HTTP front: a producer that queues questions and never answers by itself."""
