"""Likelihoods beyond the Bernoulli and the normal."""
