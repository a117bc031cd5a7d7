"""Training: steps, checks before the first one, optimizers, the guard against NaN, states for a resume."""
