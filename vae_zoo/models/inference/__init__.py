"""Models that change how the posterior is inferred."""
