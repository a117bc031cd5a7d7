"""Data sets of other libraries."""
