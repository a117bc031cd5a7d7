"""Readers of arrays, tables and images."""
