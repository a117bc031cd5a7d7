"""Verbs on tables, one a file."""
