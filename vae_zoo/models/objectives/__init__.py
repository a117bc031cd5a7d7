"""Models that change the objective or the estimator."""
