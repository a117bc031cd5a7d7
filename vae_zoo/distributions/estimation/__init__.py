"""Maximum-likelihood estimates of densities from latents."""
