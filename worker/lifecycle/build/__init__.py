"""The steps from a knowledge base and an encoder to a model version."""
