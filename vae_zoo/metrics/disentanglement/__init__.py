"""Metrics of how latents and generating factors correspond."""
