"""Models that learn from labels, or from what pairs of examples have in common."""
