"""Models with one fault each, every one of which has been seen in a public implementation.

``FAULTS`` names the checks that must fail for each, the first of which names the fault.
"""

from __future__ import annotations

from broken.bounds import (
    MeanOverLatents,
    NoHalf,
    PositiveNLL,
    StandardSamples,
    Surrogate,
    SwappedAxes,
    TopDropped,
    WeightedCurve,
    WholeChunks,
    WorstSample,
    WrongSign,
)
from broken.densities import Normalised, Probabilities, TwoScales, Unconstrained, Unnormalised, WithoutConstant
from broken.in_use import ClassCounter, Forgets, OtherPath, RankZero, Restless, SamplingEmbed, SeesOthers, TwoOptimizers
from broken.losses import (
    Ascends,
    Breaks,
    Broadcasts,
    Clock,
    Dead,
    HalfPrecision,
    Matching,
    MeanOverPixels,
    OneSize,
    Shrinking,
    SummedCodes,
    SummedOverBatch,
)
from broken.terms import (
    Adversarial,
    Befriended,
    Criticised,
    EncoderOfBoth,
    LeaksToEncoder,
    Matched,
    Negated,
    Rewarded,
    TrainsItsAdversary,
    Unreached,
    WrongWay,
)
from vae_zoo.models import Autoencoder

RIGHT: dict[type[Autoencoder], tuple[str, ...]] = {
    Adversarial: ("routing",),
    Matching: ("scale_invariance",),
    Matched: ("penalty_sign", "scale_invariance"),
    Criticised: ("penalty_sign", "routing"),
    Normalised: ("likelihood_mass",),
    Probabilities: ("likelihood_mass",),
}
"""What passes a check that subclasses, or models like it, fail by their fault alone."""

FAULTS: dict[type[Autoencoder], tuple[str, ...]] = {
    WrongSign: ("divergence", "unweighted", "elbo_below_evidence", "objective"),
    MeanOverPixels: ("tiling", "unweighted"),
    WeightedCurve: ("unweighted",),
    Surrogate: ("objective",),
    WorstSample: ("objective",),
    SwappedAxes: ("objective",),
    PositiveNLL: ("evidence_exact", "evidence_grows"),
    WholeChunks: ("samples_used",),
    Probabilities: ("extremes",),
    HalfPrecision: ("autocast",),
    Broadcasts: ("mismatch",),
    OneSize: ("shapes",),
    TwoOptimizers: ("steps",),
    SummedOverBatch: ("scale_invariance",),
    StandardSamples: ("own_prior",),
    NoHalf: ("divergence", "unweighted"),
    TopDropped: ("divergence",),
    SamplingEmbed: ("answers",),
    OtherPath: ("answers",),
    Restless: ("code_length",),
    SeesOthers: ("code_length",),
    ClassCounter: ("resuming",),
    RankZero: ("processes",),
    Dead: ("gradients",),
    Breaks: ("one_graph",),
    Clock: ("determinism",),
    Forgets: ("checkpoints",),
    Ascends: ("learning", "tiling"),
    MeanOverLatents: ("divergence", "unweighted"),
    Unconstrained: ("unit_likelihood",),
    TwoScales: ("unit_likelihood", "elbo_below_evidence"),
    Unnormalised: ("unit_likelihood", "evidence_exact"),
    WithoutConstant: ("likelihood_mass",),
    LeaksToEncoder: ("routing",),
    TrainsItsAdversary: ("routing",),
    Unreached: ("routing",),
    WrongWay: ("routing",),
    EncoderOfBoth: ("routing",),
    SummedCodes: ("scale_invariance",),
    Shrinking: ("scale_invariance",),
    Rewarded: ("penalty_sign",),
    Negated: ("penalty_sign",),
    Befriended: ("penalty_sign",),
}
