"""All diagnoses of a trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vae_zoo.evaluation.diagnosis.finding import Diagnosis, Finding, examine
from vae_zoo.evaluation.diagnosis.models import fit, latents, objective, outputs, saved
from vae_zoo.evaluation.diagnosis.models.examined import Examined, Examples, take

SAVED: tuple[Diagnosis, ...] = (
    saved.weights_not_finite,
    saved.cannot_be_resumed,
    saved.saved_by_another_version,
    saved.warm_up_unfinished,
)
"""Diagnoses of the content of a checkpoint."""

TRAINED: tuple[Diagnosis, ...] = (
    outputs.examples_off_range,
    latents.posterior_collapse,
    latents.collapsed_latents,
    latents.decoder_ignores_latents,
    fit.no_gain_over_mean,
    fit.no_gain_over_independent,
    outputs.likelihood_scale,
    outputs.saturated_outputs,
    latents.dead_codes,
    objective.divergence_too_strong,
    objective.divergence_too_weak,
    objective.amortisation_gap,
    objective.approximation_gap,
    latents.aggregate_posterior,
    fit.overfitting,
    fit.stopped_early,
)
"""Diagnoses of a model with examples."""


def diagnose_content(content: Mapping[str, Any]) -> list[Finding]:
    """What is found in the content of a checkpoint, before a model is made of it.

    Args:
        content: As :func:`vae_zoo.checkpoints.load.read` gives it.
    """
    return examine(SAVED, content)


def diagnose_model(
    model: Any,
    data: Any,
    *,
    test: Examples | None = None,
    curve: Sequence[float] = (),
    num: int = 512,
    seed: int = 0,
) -> list[Finding]:
    """What is found in a trained model.

    Args:
        model: The model.
        data: The data module of its training.
        test: Examples of another source to examine it on; by default the test split of its data.
        curve: Values of the metric that the training watched, one for each validation, higher is better.
        num: Largest number of training and of test examples, drawn at random.
        seed: Seed of all choices and noise.

    Returns:
        Findings, faults first. If the examples are outside of the training range, nothing else is examined.
    """
    model.eval()
    train = take(model, data, "train", num, seed)
    held = take(model, data, "test", num, seed) if test is None else test
    examined = Examined(model, train, held, curve=curve, other_data=test is not None, seed=seed)
    first = examine(TRAINED[:1], examined)
    return first if first[0].severity == "fault" else examine(TRAINED, examined)
