"""Likelihoods other than the Bernoulli and the normal."""
