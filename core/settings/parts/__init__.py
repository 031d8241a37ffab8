"""The settings, one class for each part of the system."""
