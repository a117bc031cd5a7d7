"""Callbacks that write checkpoints and resume from them."""
