"""Distributions of latents other than real vectors: positive numbers, proportions, categories, and parts of each."""
