"""The nouns of the glossary: states, transitions and frozen dataclasses."""
