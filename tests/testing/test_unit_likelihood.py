"""With p(x|z) = 1 no pair of posterior and prior that check_pair accepts may have a bound above 0."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from helpers import FAMILIES, PRIORS
from short import few

from vae_zoo.distributions import Family, Prior, check_pair
from vae_zoo.models import VAE
from vae_zoo.testing import Subject, run
from vae_zoo.testing.unit import UnitLikelihood


def small(cls: type) -> Any:
    """The class with networks as small as can be."""
    masked = ("AutoregressiveFlow", "SplineFlow", "FlowPrior", "SplinePrior")
    return partial(cls, hidden=[8], num_transforms=1) if cls.__name__ in masked else cls


def made(cls: type) -> Any:
    with contextlib.suppress(ValueError, TypeError):  # for images only, or not without further arguments
        return small(cls)((2,))


def pairs() -> Iterator[tuple[type[Family], type[Prior]]]:
    """All that check_pair accepts."""
    families = [(cls, q) for cls in FAMILIES if (q := made(cls)) is not None]
    priors = [(cls, small(cls)((2,))) for cls in PRIORS]
    for (q_class, q), (p_class, p) in itertools.product(families, priors):
        with contextlib.suppress(ValueError):
            check_pair(q, p)
            yield q_class, p_class


@pytest.mark.parametrize(("q", "p"), few(pairs(), 3))
def test_no_bound_above_the_evidence(q: type[Family], p: type[Prior]) -> None:
    outcome = run("unit_likelihood", Subject(VAE, posterior=small(q), prior=small(p)))
    assert outcome.verdict == "pass", outcome


def test_the_likelihood_is_one() -> None:
    likelihood = UnitLikelihood((2, 3))(torch.randn(5, 4, 2, 3))
    assert torch.equal(likelihood.log_prob(torch.rand(4, 2, 3)), torch.zeros(5, 4))
