"""Diagnoses of data, before any model."""
