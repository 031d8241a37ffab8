"""The HTTP front: a producer with an API and web pages."""
