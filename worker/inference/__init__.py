"""Texts to answers with any model: passes, cache, memory limits, swaps."""
