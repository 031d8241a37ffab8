"""The files and tables that builds, evaluations and comparisons read."""
