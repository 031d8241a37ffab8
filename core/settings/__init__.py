"""Every setting, in one module for each part of the system."""
