"""Diagnoses of data and of trained models: one function for each finding, named after what it finds."""

from vae_zoo.evaluation.diagnosis.data.diagnose import diagnose_data
from vae_zoo.evaluation.diagnosis.data.reading import read_source
from vae_zoo.evaluation.diagnosis.data.recommend import Recommendation, recommend
from vae_zoo.evaluation.diagnosis.finding import Finding, Severity, by_severity
from vae_zoo.evaluation.diagnosis.models.diagnose import diagnose_content, diagnose_model

__all__ = [
    "Finding",
    "Recommendation",
    "Severity",
    "by_severity",
    "diagnose_content",
    "diagnose_data",
    "diagnose_model",
    "read_source",
    "recommend",
]
