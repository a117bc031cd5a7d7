"""Diagnoses of the likelihood's scale, of outputs, and of the examples that a model is given."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from vae_zoo.evaluation.diagnosis.finding import Finding, judge
from vae_zoo.evaluation.diagnosis.models.examined import Examined

SMALL, LARGE = 2e-3, 1.5
"""σ of the likelihood in units of the data's standard deviation, outside of which it is absurd: the lower bound of
learned scales is e⁻⁷ = 0.0009, and above 1 the mean of the data alone would be better."""
CERTAIN, WRONG = 1e-4, 0.01
"""Probability of a value below which an output is saturated, and the share of saturated outputs that may be wrong: less
than 1e-4 in a calibrated model."""
BEYOND, MARGIN = 0.01, 0.1
"""Share of values that may be further outside the training range than this part of it; 0 in splits of one source."""


def likelihood_scale(examined: Examined) -> Finding | None:
    """The σ of p(x|z) is absurd: at its lower bound, or larger than the spread of the data.

    The median over entries and examples of σ, in units of the data's standard deviation of the same entry, below 0.002
    or above 1.5. A σ at its bound means reconstructions that are exact, and a bound that means nothing.
    """
    likelihood = examined.model.likelihood
    if likelihood.is_discrete or not examined.has_bound or hasattr(likelihood, "columns"):
        return None
    x, sigma = examined.test.x, examined.sigma.double()
    if sigma.shape != x.shape or not bool(sigma.isfinite().all()):
        return None
    centre = x.double() - x.double().nanmean(0)
    spread = torch.nan_to_num(centre.square()).mean(0).sqrt() if x.ndim == 2 else centre.square().mean().sqrt()
    if not bool((spread > 0).any()):
        return None
    size = float((sigma / spread.expand_as(sigma))[spread.expand_as(sigma) > 0].median())
    what = "small: the likelihood is at its lower bound" if size < SMALL else "large"
    return judge(
        "likelihood_scale",
        "fault" if size < SMALL else "warning" if size > LARGE else "fine",
        f"the median σ of p(x|z) is {size:.2g} standard deviations of the data",
        f"from {SMALL:g} to {LARGE:g}",
        f"it is too {what}: take OptimalNormal, or --model.likelihood FixedNormal --model.likelihood.scale of a tenth "
        "of the data's standard deviation, and scale the data (--data.scaling standard)",
    )


def saturated_outputs(examined: Examined) -> Finding | None:
    """Probabilities of binary data are within 0.0001 of 0 or 1, and more than 1 % of these are wrong.

    A logit that is wrong by so much costs 9 nats or more. The remedy is a smaller learning rate, or a likelihood for
    data that are not binary.
    """
    support = examined.model.likelihood.support
    x, out = examined.test.x.double(), examined.outputs.double()
    bounded = isinstance(support, type(constraints.unit_interval)) and (support.lower_bound, support.upper_bound) == (
        0,
        1,
    )
    if not (examined.model.likelihood.is_discrete and bounded) or out.shape != x.shape:
        return None
    sure = (out < CERTAIN) | (out > 1 - CERTAIN)
    wrong = sure & ((x - out).abs() > 0.5)
    share = float(wrong.sum() / sure.sum().clamp(min=1))
    return judge(
        "saturated_outputs",
        "fault" if share > WRONG else "fine",
        f"{float(sure.double().mean()):.1%} of the probabilities are within {CERTAIN:g} of 0 or 1, and {share:.2%} of "
        "these are wrong",
        f"up to {WRONG:.0%} of those",
        "lower the learning rate (--model.optimizer.lr 3e-4), clip gradients (--trainer.gradient_clip_val 1), or "
        "choose a likelihood for grey levels (OptimalNormal)",
    )


def examples_off_range(examined: Examined) -> Finding | None:
    """More than 1 % of the values of test examples lie outside of the range of the training, as in other units.

    The range is that of each column of vectors, or that of all values of images, and a tenth of it on either side;
    values outside the support of the likelihood count too, and NaN in a model of complete examples.
    """
    train, test = examined.train.x.double(), examined.test.x.double()
    shape = (-1, train.shape[1]) if train.ndim == 2 else (-1, 1)
    low, high = _range(train.reshape(shape))
    width = MARGIN * (high - low)
    values = test.reshape(shape)
    off = (values < low - width) | (values > high + width)
    if not examined.model.likelihood.missing:
        off |= values.isnan()
    share = float(off.double().mean())
    refused = _refused(examined, test)
    return judge(
        "examples_off_range",
        "fault" if share > BEYOND or refused else "fine",
        f"{share:.1%} of the values are outside of the training range, {float(low.min()):.4g} to "
        f"{float(high.max()):.4g}" + (f"; {refused}" if refused else ""),
        f"up to {BEYOND:.0%}",
        "give the examples in the units of the training (images divided by 255, the same columns in the same order), "
        "or fit again with such examples",
    )


def _range(values: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.where(values.isnan(), torch.inf, values).amin(0)
    high = torch.where(values.isnan(), -torch.inf, values).amax(0)
    return low, high


def _refused(examined: Examined, test: Tensor) -> str:
    likelihood = examined.model.likelihood
    try:
        likelihood.check(test.float())
    except ValueError as error:
        return str(error).rstrip(".")
    return ""
