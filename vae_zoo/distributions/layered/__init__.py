"""Latents in layers, each given the one above."""
