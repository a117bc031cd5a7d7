"""Models whose latents are not real vectors."""
