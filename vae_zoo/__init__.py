"""vae_zoo: a model zoo of variational autoencoders for PyTorch Lightning."""

__version__ = "0.1.0"
