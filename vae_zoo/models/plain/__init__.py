"""The autoencoder, the VAE and the conditional VAE."""
