"""Models with latents in layers."""
