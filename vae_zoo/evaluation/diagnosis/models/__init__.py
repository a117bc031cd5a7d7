"""Diagnoses of trained models."""
