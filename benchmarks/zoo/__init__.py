"""Every variant of the zoo on the same data, with the same networks, latents, likelihood, budget and seeds."""
