"""Security: which classes may be imported, and which files may be read."""
