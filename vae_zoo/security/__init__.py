"""Security: what may be named, imported and read."""
