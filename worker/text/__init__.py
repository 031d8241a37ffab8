"""Functions of one text: normalization and language identification."""
