"""Distributions on the Poincaré ball."""
