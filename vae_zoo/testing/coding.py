"""The check that a bound is the length of a code."""

from __future__ import annotations

import math

import numpy as np
import torch

from vae_zoo.evaluation.coding import Codec, refusal
from vae_zoo.testing.bounds import perturb
from vae_zoo.testing.subject import Found, SkipCheck, Subject

SHAKEN = 0.05
"""Standard deviation of what is added to each weight; with more, posteriors reach where bins have more than their mass
under the prior, and the code is shorter than the bound."""

COUNTS = 256
"""Number of values of an entry of a model of counts."""

REACH = 4.6
"""Standard deviations of the prior up to which bins have equal mass."""

TOLERANCE = 0.005
"""Largest difference of the lengths, relative to the length."""


def code_length(subject: Subject) -> Found:
    """bits-back coding is lossless, and as long as -log p(x|z) - log p(z) + log q(z|x) at the latents drawn"""
    model, x = subject.bound(), subject.images(12)
    if why := refusal(model):
        raise SkipCheck(why.rstrip("."))
    perturb(model, SHAKEN)
    codec = Codec(model, num_values=COUNTS, batch_size=5)
    symbols = codec.values.symbols(x)
    coded = codec.encode(symbols)
    z = coded.z.reshape(-1, *codec.latent_shape)
    with torch.no_grad():
        if bool(((z - model.prior().mean) / model.prior().stddev).abs().max() > REACH):
            raise SkipCheck(
                "its posterior reaches beyond the bins of equal mass, where codes are shorter than the bound"
            )
        log_w = model.decode(z).log_prob(x) + model.prior().log_prob(z) - model.encode(x).log_prob(z)
    expected = -log_w.double().mean().item() / math.log(2)
    lossless = np.array_equal(codec.decode(coded.stack, len(symbols)), symbols)
    said = f"{coded.bits:.2f} bits, -log w is {expected:.2f}" + ("" if lossless else ", not lossless")
    return Found(lossless and abs(coded.bits / expected - 1) <= TOLERANCE, said, f"{TOLERANCE:.1%}, and lossless")


CHECKS = (code_length,)
