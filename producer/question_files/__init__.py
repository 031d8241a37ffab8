"""A file of questions, checked completely before any question is stored."""
