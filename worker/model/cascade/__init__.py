"""The cascade: a linear classifier on n-grams, asked before the encoder."""
