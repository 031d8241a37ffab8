"""CAPTION core/domain."""
