"""Autoencoders whose grids of latents or codes other models are trained on."""
