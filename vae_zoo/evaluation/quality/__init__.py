"""Quality of synthetic rows of a table, compared with real rows that the generator has not seen."""

from vae_zoo.evaluation.quality.associations import Association, associations
from vae_zoo.evaluation.quality.detection import Auroc, auroc, two_sample
from vae_zoo.evaluation.quality.marginals import Marginal, marginals
from vae_zoo.evaluation.quality.privacy import Privacy, privacy
from vae_zoo.evaluation.quality.report import Quality, quality
from vae_zoo.evaluation.quality.utility import Utility, utility

__all__ = [
    "Association",
    "Auroc",
    "Marginal",
    "Privacy",
    "Quality",
    "Utility",
    "associations",
    "auroc",
    "marginals",
    "privacy",
    "quality",
    "two_sample",
    "utility",
]
