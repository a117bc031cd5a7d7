"""Data sets that are drawn instead of read, with known factors."""
