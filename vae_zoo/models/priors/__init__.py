"""Models that change the prior or the posterior."""
