"""Networks of deep hierarchies, and the singular values of their weights."""
