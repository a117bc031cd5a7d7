"""Diagnoses of latents: collapse, the aggregate posterior, codes, and whether the decoder uses them."""

from __future__ import annotations

import torch

from vae_zoo.distributions import mean_of
from vae_zoo.evaluation.diagnosis.finding import Finding, judge
from vae_zoo.evaluation.diagnosis.models.examined import Examined
from vae_zoo.evaluation.diagnosis.statistics import mean_of_rows, mmd_test, told_apart
from vae_zoo.system.seeding import forked

COLLAPSED = 0.01
"""Nats below which a dimension has collapsed: used ones of packaged models have 0.4 to 3.7, most unused ones less
than 0.01."""
LEAST_RATE = 0.5
"""Nats below which all latents together say nothing, as in the callback CollapseWarning."""
FAR, SURE = 0.65, 0.01
"""Area under the ROC curve and p-value beyond which the aggregate posterior is far from the prior: most packaged
models have 0.44 to 0.58 with errors of 0.04 to 0.07, the JointVAE and a β-VAE with β = 0.1 have 0.77."""
USED_CODES = 0.25
"""Share of codes in use below which a codebook is mostly dead; 1 in the packaged VQ-VAE of digits."""
STILL = 1e-3
"""Share of the data's variance below which the decoder does not react to its latents: 0.15 to 0.97 in packaged
models."""


def posterior_collapse(examined: Examined) -> Finding | None:
    """All latents say nothing: their rates, added up, are below 0.5 nats, or each is below 0.01 nats.

    The remedy is a warm-up of the divergence, free bits, a smaller decoder or another likelihood.
    """
    if examined.rate is None or examined.has_codes:
        return None
    total = mean_of_rows(examined.rate)
    none = examined.rates is not None and bool((examined.rates < COLLAPSED).all())
    return judge(
        "posterior_collapse",
        "fault" if none or total.value < LEAST_RATE else "fine",
        f"the latents carry {total} nats about an example in total",
        f"at least {LEAST_RATE} nats",
        "raise the weight of the divergence slowly (LinearAnnealing), set --model.free_bits 0.1, take a smaller "
        "decoder, or the likelihood OptimalNormal for grey images",
    )


def collapsed_latents(examined: Examined) -> Finding | None:
    """More than two thirds of the latent dimensions have a rate below 0.01 nats, while others are used.

    Unused dimensions cost nothing, but show that latent_dim is too large or the divergence was too strong in the first
    epochs. Published VAEs of MNIST use 21 to 25 of 50 dimensions (Burda et al., 2016).
    """
    rates = examined.rates
    if rates is None or bool((rates < COLLAPSED).all()):
        return None
    gone, num = int((rates < COLLAPSED).sum()), len(rates)
    return judge(
        "collapsed_latents",
        "warning" if 3 * gone > 2 * num else "fine",
        f"{gone} of {num} latent dimensions have a rate below {COLLAPSED} nats",
        "up to two thirds of them",
        f"set --model.latent_dim {num - gone}, or a warm-up of the divergence (LinearAnnealing), or "
        "--model.free_bits 0.1 to use more of them",
    )


def aggregate_posterior(examined: Examined) -> Finding | None:
    """Draws from the posteriors of test examples look different from draws from the prior, so that samples will too.

    The maximum mean discrepancy must have a permutation p-value of at most 0.01, and a classifier of held-out draws an
    area under the ROC curve of more than 0.65 by two standard errors (see ``statistics.mmd_test`` and ``told_apart``).
    """
    p = examined.prior(examined.test)
    if p is None:
        return None
    z = examined.latents.flatten(1).float()
    with forked(examined.seed, examined.model.device), torch.no_grad():
        drawn = p.sample((len(z),)) if not p.batch_shape else p.sample()
    if len(drawn) != len(z) or drawn[0].numel() != z.shape[1]:
        return None
    drawn = drawn.cpu().flatten(1).float()
    discrepancy, chance = mmd_test(z, drawn, seed=examined.seed)
    area = told_apart(z, drawn, seed=examined.seed)
    far = chance <= SURE and area.low > FAR
    return judge(
        "aggregate_posterior",
        "warning" if far else "fine",
        f"a classifier tells latents from the prior with an AUROC of {area}; squared MMD {discrepancy:.2g}, p = "
        f"{chance:.2g}",
        f"AUROC up to {FAR}; 0.5 is equality",
        "fit a density to the latents (vae-zoo fit-density --density GMM), take a learned prior (VampVAE), or give "
        "the divergence more weight",
    )


def dead_codes(examined: Examined) -> Finding | None:
    """Most codes of a codebook are never chosen: fewer than a quarter of them; only one is a fault.

    Measured on the training and test examples together, with the perplexity of the codes. The remedy is a codebook of
    moving averages, fewer codes, or a quantizer without dead codes.
    """
    if not examined.has_codes or not hasattr(examined.model, "usage"):
        return None
    model = examined.model
    found = [examined.over(part, lambda x, _: model.codes(x)) for part in (examined.train, examined.test)]
    num = model.codebook.num_codes
    shape = found[0].shape[1:] if isinstance(found[0], torch.Tensor) else None
    if shape is None:
        return None
    codes = torch.cat(found).to(model.device)
    usage = model.usage(codes).cpu().unflatten(0, (-1, num))
    used = (usage > 0).sum(-1).double().mean()
    possible = min(num, codes[..., 0].numel() if model.codebook.code_shape else codes.numel())
    perplexity = float(torch.exp(torch.special.entr(usage).sum(-1)).mean())
    share = float(used) / possible
    return judge(
        "dead_codes",
        "fault" if perplexity < 1.5 else "warning" if share < USED_CODES else "fine",
        f"{float(used):.0f} of {num} codes are in use, with a perplexity of {perplexity:.1f}",
        f"at least {USED_CODES:.0%} of the codes",
        f"set --model.codebook EMACodebook, --model.num_codes {max(2, int(2 * used))}, or take FSQVAE or SimVQVAE",
    )


def decoder_ignores_latents(examined: Examined) -> Finding | None:
    """The output of the decoder hardly depends on its latents: its variance is below 0.1 % of that of the data.

    The variance is over the means of p(x|z) at draws from the prior, or at latents of the data for a model without a
    prior, summed over entries. The remedy concerns the decoder: dead units, or a too low learning rate.
    """
    x, c = examined.test
    p = examined.prior(examined.test)
    with forked(examined.seed, examined.model.device), torch.no_grad():
        z = examined.latents if p is None else p.sample((len(x),)) if not p.batch_shape else p.sample()
        if z.shape[1:] != examined.latents.shape[1:]:
            z = examined.latents
        device = examined.model.device
        px = examined.model.decode(z[: len(x)].to(device), None if c is None else c.to(device))
        out = mean_of(px, device).cpu().double()
    of_data = torch.nan_to_num((x.double() - x.double().nanmean(0)).square()).mean(0).sum()
    if out.shape[1:] != x.shape[1:] or of_data == 0:
        return None
    share = float(out.var(0).sum() / of_data)
    return judge(
        "decoder_ignores_latents",
        "fault" if not share >= STILL else "fine",
        f"outputs vary by {share:.2g} of the data's variance as latents vary",
        f"at least {STILL:g}",
        "look for dead units in the decoder (--model.decoder.activation GELU), a too large learning rate, or too small "
        "initial weights, and fit again",
    )
