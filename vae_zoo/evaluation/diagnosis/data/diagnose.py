"""All diagnoses of data."""

from __future__ import annotations

from vae_zoo.evaluation.diagnosis.data import columns, images, rows, values
from vae_zoo.evaluation.diagnosis.data.source import Source
from vae_zoo.evaluation.diagnosis.finding import Diagnosis, Finding, examine

DATA: tuple[Diagnosis, ...] = (
    images.unreadable_images,
    values.infinite_values,
    values.images_off_range,
    values.missing_values,
    rows.leakage_between_splits,
    rows.drift_between_splits,
    rows.duplicate_examples,
    rows.too_few_examples,
    rows.class_imbalance,
    columns.id_among_features,
    columns.label_among_features,
    columns.constant_columns,
    columns.too_many_levels,
    columns.scales_differ,
    columns.heavy_tails,
    values.counts_as_numbers,
    values.mostly_zeros,
    values.binary_as_continuous,
    images.images_of_mixed_sizes,
    images.transparent_images,
    images.grey_stored_as_colour,
    images.blank_images,
)
"""Diagnoses of data."""


def diagnose_data(source: Source) -> list[Finding]:
    """What is found in data, before any model.

    Args:
        source: As :func:`~vae_zoo.evaluation.diagnosis.read_source` reads it.

    Returns:
        Findings, faults first.
    """
    return examine(DATA, source)
