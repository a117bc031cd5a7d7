"""Diagnoses of the fit: what the model explains, whether it has learned by heart, and whether it was stopped early."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.evaluation.diagnosis.finding import Finding, judge
from vae_zoo.evaluation.diagnosis.models.examined import Examined
from vae_zoo.evaluation.diagnosis.statistics import difference, mean_of_rows, ratio, slope

EXPLAINED = 0.05
"""Share of the squared error of the mean below which hardly anything is explained: 0.19 (drawn counts) to 0.84 in
packaged models."""
LEAST_GAIN = 0.5
"""Nats that a model may gain by chance over one whose means are estimated from a few hundred examples: 0.07 in a model
of 12 dimensions that knows the mean exactly, and nothing else."""
OVERFIT = 0.5
"""Share of the gain on training examples that is lost on others, above which a model has learned them by heart: on
digits and drawn counts, 0.03 to 0.18 in packaged models, and 0.34 on a table of 455 rows."""
RISING = 0.1
"""Gain that as many epochs again as the last third would bring at the last slope, relative to the whole gain so far,
above which a fit was stopped early: up to 0.057 at the end of the packaged configs, 0.27 after 10 epochs of digits."""
LEAST_VALIDATIONS = 9
_STEPS, _LARGE = 300, 5000


def no_gain_over_mean(examined: Examined) -> Finding | None:
    """Reconstructions are no closer to test examples than the mean of the training examples.

    One minus the ratio of squared errors, with its error by the delta method: a fault if it is 0 within two standard
    errors, a warning below 5 %. Columns of vectors are standardised first, and counts are compared by log(1 + x).
    """
    likelihood = examined.model.likelihood
    if hasattr(likelihood, "columns"):
        return None  # codes of categories have no squared error
    x, mean = examined.test.x.double(), examined.train.x.double().nanmean(0)
    out = examined.outputs.double()
    if out.shape != x.shape:
        return None
    if likelihood.is_discrete and float(x.nan_to_num().max()) > 1 and x.ndim == 2:
        x, out = x.clamp(min=0).log1p(), out.clamp(min=0).log1p()
        mean = examined.train.x.double().clamp(min=0).log1p().nanmean(0)
    unit = torch.ones(())
    if x.ndim == 2:
        spread = torch.nan_to_num((x - mean).square()).mean(0).sqrt()
        unit = torch.where(spread > 0, spread, torch.inf)
    own, base = (torch.nan_to_num(((x - other) / unit).square()).flatten(1).sum(1) for other in (out, mean))
    if not float(base.sum()) > 0:
        return None
    left = ratio(own, base)
    gain = 1 - left.value
    return judge(
        "no_gain_over_mean",
        "fault" if not gain > 2 * left.error else "warning" if gain < EXPLAINED else "fine",
        f"reconstructions explain {gain:.1%} ± {left.error:.1%} of the squared error of the mean",
        f"at least {EXPLAINED:.0%}",
        "look first at what else is found here (collapse, range of the data); then lower the weight of the divergence, "
        "raise the learning rate, or fit longer",
    )


def independent_scores(examined: Examined) -> tuple[Tensor, Tensor] | None:
    """log p(x) of training and test examples under the likelihood with one vector of parameters for all, (N,) each.

    The parameters start at the mean of what the decoder gives, and are fitted to the training examples.
    """
    start = examined.likelihood_params
    if start is None or not bool(start.isfinite().all()):
        return None
    likelihood = copy.deepcopy(examined.model.likelihood).cpu().train()
    x = examined.train.x[: 128 if examined.train.x[0].numel() > _LARGE else 512].cpu()
    with torch.inference_mode(False), torch.enable_grad():
        x, params = x.clone(), start.cpu().clone().requires_grad_()
        weights = [p for p in likelihood.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam([params, *weights], lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            loss = -score(likelihood(params.expand(len(x), *params.shape)), x, x.shape[:1]).mean()
            if not bool(loss.isfinite()):
                return None
            loss.backward()
            optimizer.step()
            schedule.step()
    likelihood.eval()
    with torch.no_grad():
        return tuple(  # type: ignore[return-value]
            score(likelihood(params.detach().expand(len(part), *params.shape)), part, part.shape[:1])
            for part in (examined.train.x.cpu(), examined.test.x.cpu())
        )


def no_gain_over_independent(examined: Examined) -> Finding | None:
    """The bound of test examples is no higher than log p(x) of a model whose entries are independent, without latents.

    That model has the same likelihood with the same parameters for all examples, fitted to the training examples. The
    difference is example by example, with its standard error: a fault if it is not above 0 by two of them, a warning
    below 0.5 nats.
    """
    if examined.bounds is None or (scores := examined.once(independent_scores)) is None:
        return None
    gain = mean_of_rows(examined.bounds[1] - scores[1])
    return judge(
        "no_gain_over_independent",
        "fault" if not gain.low > 0 else "warning" if gain.value < LEAST_GAIN else "fine",
        f"the bound is {gain} nats above an independent model of each entry",
        f"at least {LEAST_GAIN} nats, and two standard errors",
        "the model does not pay for its latents: fit longer, look at collapse and at the likelihood's scale, or scale "
        "the data",
    )


def overfitting(examined: Examined) -> Finding | None:
    """The bound of training examples is much higher than that of test examples.

    The difference, with its standard error, must exceed half of the gain of training examples over an independent model
    of each entry by two standard errors. Without a bound, log p(x|z) takes its place.
    """
    if examined.other_data or (scores := examined.once(independent_scores)) is None:
        return None
    train, test = examined.fits
    gap = difference(train, test - (scores[1].mean() - scores[0].mean()))  # not what is due to the examples themselves
    gain = float((train - scores[0]).mean())
    share = gap.value / gain if gain > 0 else 0.0
    return judge(
        "overfitting",
        "warning" if gain > 0 and gap.low > OVERFIT * gain else "fine",
        f"training examples are {gap} nats above test examples, {share:.0%} of their gain over an independent model",
        f"up to {OVERFIT:.0%} of that gain",
        "stop earlier (--trainer.callbacks EarlyStopping, or take the best checkpoint instead of last.ckpt), take "
        "smaller networks, weight decay (--model.optimizer torch.optim.AdamW), or more data",
    )


def stopped_early(examined: Examined) -> Finding | None:
    """The metric that the training watched was still rising when it ended.

    A line through the last third of the validations must rise by two standard errors, and another third at this
    slope must bring at least 10 % of the whole gain so far. The remedy is to resume for more epochs.
    """
    curve = torch.tensor([value for value in examined.curve if value == value], dtype=torch.float64)
    if len(curve) < LEAST_VALIDATIONS:
        return None
    last = curve[-max(3, len(curve) // 3) :]
    rise = slope(last)
    gained = float(curve.max() - curve[0])
    ahead = rise.value * len(last) / gained if gained > 0 else 0.0
    return judge(
        "stopped_early",
        "warning" if rise.low > 0 and ahead > RISING else "fine",
        f"at its last slope, {rise} per validation, the metric would gain {ahead:.1%} more in {len(last)} validations",
        f"up to {RISING:.0%} of the gain so far",
        "fit on: --ckpt_path of last.ckpt with a larger --trainer.max_epochs",
    )
