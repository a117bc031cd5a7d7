"""Distributions: families, which turn the output of a network into a distribution, and priors."""

from vae_zoo.distributions.ball.riemannian_normal import RiemannianNormal, RiemannianNormalPrior
from vae_zoo.distributions.ball.wrapped_normal import WrappedNormal, WrappedNormalPrior
from vae_zoo.distributions.divergence import has_closed_form, kl, kl_per_dim, register_kl
from vae_zoo.distributions.families import (
    Bernoulli,
    DiagonalNormal,
    Family,
    FixedNormal,
    Point,
    SharedNormal,
    SquaredError,
)
from vae_zoo.distributions.flows.amortised import PlanarFlow, RadialFlow, SylvesterFlow
from vae_zoo.distributions.flows.autoregressive import Flow
from vae_zoo.distributions.flows.flows import AutoregressiveFlow, FlowPrior, SplineFlow, SplinePrior
from vae_zoo.distributions.flows.hamiltonian import HamiltonianPosterior, OwnDraws
from vae_zoo.distributions.flows.riemannian import Metric, RiemannianPosterior
from vae_zoo.distributions.hierarchical import Hierarchical, combine, joined, kl_of_layers
from vae_zoo.distributions.labelled import Labelled
from vae_zoo.distributions.latents.categories import Gumbel, LearnedCategorical, OneHot, UniformCategorical
from vae_zoo.distributions.latents.gamma import Gamma, GammaPrior
from vae_zoo.distributions.latents.joint import Joint, JointPrior
from vae_zoo.distributions.latents.parts import Parts
from vae_zoo.distributions.latents.proportions import Beta, BetaPrior, Dirichlet, DirichletPrior
from vae_zoo.distributions.layered.top_down import TopDown, Walk
from vae_zoo.distributions.layered.two_stage import TwoStageDistribution, TwoStagePrior
from vae_zoo.distributions.likelihoods.columns import Columns
from vae_zoo.distributions.likelihoods.continuous import (
    ContinuousBernoulli,
    FixedLaplace,
    LogCosh,
    SharedLaplace,
    StudentT,
)
from vae_zoo.distributions.likelihoods.counts import (
    CellCounts,
    Counted,
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from vae_zoo.distributions.likelihoods.discrete import (
    Categorical,
    CoupledMixtureOfLogistics,
    DiscretizedLogistic,
    MixtureOfDiscretizedLogistics,
)
from vae_zoo.distributions.likelihoods.energies import MSSSIM, Perceptual
from vae_zoo.distributions.likelihoods.optimal import OptimalNormal
from vae_zoo.distributions.likelihoods.tokens import AutoregressiveTokens
from vae_zoo.distributions.location_scale import CholeskyNormal, Laplace
from vae_zoo.distributions.mixture import Mixture
from vae_zoo.distributions.moments import mean_of, observing, stddev_of
from vae_zoo.distributions.normal import Normal, factorises, log_prob_per_dim
from vae_zoo.distributions.pairs import (
    check_family,
    check_latents,
    check_likelihood,
    check_pair,
    check_posterior,
    check_prior,
    score,
)
from vae_zoo.distributions.posteriors import DiagonalLaplace, FullNormal
from vae_zoo.distributions.priors import ConditionalNormal, MixtureNormal, Prior, StandardLaplace, StandardNormal
from vae_zoo.distributions.sphere.uniform import UniformSphere
from vae_zoo.distributions.sphere.von_mises_fisher import VonMisesFisher
from vae_zoo.distributions.temperature import at_temperature, check_temperature, tempered, tempered_layers

__all__ = [
    "MSSSIM",
    "AutoregressiveFlow",
    "AutoregressiveTokens",
    "Bernoulli",
    "Beta",
    "BetaPrior",
    "Categorical",
    "CellCounts",
    "CholeskyNormal",
    "Columns",
    "ConditionalNormal",
    "ContinuousBernoulli",
    "Counted",
    "CoupledMixtureOfLogistics",
    "DiagonalLaplace",
    "DiagonalNormal",
    "Dirichlet",
    "DirichletPrior",
    "DiscretizedLogistic",
    "Family",
    "FixedLaplace",
    "FixedNormal",
    "Flow",
    "FlowPrior",
    "FullNormal",
    "Gamma",
    "GammaPrior",
    "Gumbel",
    "HamiltonianPosterior",
    "Hierarchical",
    "Joint",
    "JointPrior",
    "Labelled",
    "Laplace",
    "LearnedCategorical",
    "LogCosh",
    "Metric",
    "Mixture",
    "MixtureNormal",
    "MixtureOfDiscretizedLogistics",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "OneHot",
    "OptimalNormal",
    "OwnDraws",
    "Parts",
    "Perceptual",
    "PlanarFlow",
    "Point",
    "Poisson",
    "Prior",
    "RadialFlow",
    "RiemannianNormal",
    "RiemannianNormalPrior",
    "RiemannianPosterior",
    "SharedLaplace",
    "SharedNormal",
    "SplineFlow",
    "SplinePrior",
    "SquaredError",
    "StandardLaplace",
    "StandardNormal",
    "StudentT",
    "SylvesterFlow",
    "TopDown",
    "TwoStageDistribution",
    "TwoStagePrior",
    "UniformCategorical",
    "UniformSphere",
    "VonMisesFisher",
    "Walk",
    "WrappedNormal",
    "WrappedNormalPrior",
    "ZeroInflatedNegativeBinomial",
    "at_temperature",
    "check_family",
    "check_latents",
    "check_likelihood",
    "check_pair",
    "check_posterior",
    "check_prior",
    "check_temperature",
    "combine",
    "factorises",
    "has_closed_form",
    "joined",
    "kl",
    "kl_of_layers",
    "kl_per_dim",
    "log_prob_per_dim",
    "mean_of",
    "observing",
    "register_kl",
    "score",
    "stddev_of",
    "tempered",
    "tempered_layers",
]
