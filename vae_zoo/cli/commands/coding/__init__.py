"""Verbs that code examples by a trained model, and decode them."""
