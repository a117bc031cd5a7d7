"""Metrics of a space of latents for models that are trained on it."""
