"""Training: steps, pre-flight checks, optimizers, the guard against NaN, states for resuming."""
