"""Diagnoses of data and of trained models: one function for each finding, named after what it finds."""

from vae_zoo.evaluation.diagnosis.finding import Finding, Severity
from vae_zoo.evaluation.diagnosis.models.diagnose import diagnose_content, diagnose_model

__all__ = ["Finding", "Severity", "diagnose_content", "diagnose_model"]
