"""Every ordered pair of models: what is refused is refused by name, and in what works nothing is without effect."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any
from zlib import crc32

import pytest
import torch
from helpers import MODELS, linked, losses, small, tiny
from torch import Tensor

from vae_zoo import distributions, penalties
from vae_zoo.distributions import DiagonalNormal, FixedNormal, MixtureNormal
from vae_zoo.elbo import ELBO
from vae_zoo.models import (
    AE,
    CIWAE,
    IWAE,
    M2,
    RHVAE,
    VAE,
    VQVAE,
    AdaGVAE,
    AdaMLVAE,
    Autoencoder,
    AutoencoderKL,
    BetaTCVAE,
    BetaVAE,
    ConditionalVAE,
    DenoisingVAE,
    ExemplarVAE,
    FactorVAE,
    FlowVAE,
    InfoVAE,
    IWAEDReG,
    JointVAE,
    LadderVAE,
    SequenceVAE,
    TwoLevelVAE,
    VampVAE,
)
from vae_zoo.models.tokenizers.judged import Judged
from vae_zoo.nn import Dense

REFUSED = r"^\w+ ?: (\w+) and (\w+) do not go together|^\w+ needs a posterior with independent dimensions"
OTHER = {
    "alpha": 0.3,
    "beta": 0.3,
    "gamma": 3.0,
    "num_train": 480,
    "num_samples": 3,
    "num_pseudo": 4,
    "pseudo_mean": 0.2,
    "pseudo_std": 0.3,
    "latent_dims": [1, 3],
    "width": 12,
}
"""Another value of each argument whose effect on the loss of one batch can be seen."""


def pair(first: type, second: type) -> type[Autoencoder]:
    return type(f"{first.__name__}{second.__name__}", (first, second), {})


def arguments(cls: type) -> Iterator[str]:
    """Arguments of a class and those above it, up to those that every model with a bound has and those it fixes."""
    open_ = OTHER.keys() - {name for base in cls.__mro__ for name in vars(base).get("fixed", {})}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base not in VAE.__mro__:
            yield from (name for name in inspect.signature(base.__init__).parameters if name in open_)


@pytest.mark.parametrize("first", MODELS, ids=lambda cls: cls.__name__)
def test_some_pairs(first: type[Autoencoder], images: Tensor) -> None:
    """Two partners of each, chosen by their names."""
    check_pairs(first, sorted(MODELS, key=lambda cls: crc32(f"{first.__name__} {cls.__name__}".encode()))[:2], images)


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", MODELS, ids=lambda cls: cls.__name__)
def test_every_pair(first: type[Autoencoder], images: Tensor) -> None:
    check_pairs(first, MODELS, images)


def check_pairs(first: type[Autoencoder], partners: list[type[Autoencoder]], images: Tensor) -> None:
    for second in partners:
        if issubclass(second, first) or first is second:
            continue  # which Python refuses
        cls = pair(first, second)
        try:
            model = tiny_at(cls)
        except (TypeError, ValueError) as error:
            text = str(error)  # of two classes that hide each other, or of components that do not fit
            assert "\n" not in text
            assert any(f"{part} " in text for part in components(cls)), text
            continue
        check_works(cls, model, images)


def components(cls: type[Autoencoder]) -> set[str]:
    """What an error may begin with: the two classes, their pair, their components and arguments."""
    kinds = {name for name in distributions.__all__ if name[0].isupper()} | set(penalties.__all__)
    return {*(base.__name__ for base in cls.__mro__), *kinds, "prior", "posterior"}


def check_works(cls: type[Autoencoder], model: Any, images: Tensor) -> None:
    """One step reaches every parameter, and each argument changes the loss."""
    values = losses(model, images)
    values["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == [], cls
    for name in arguments(cls):
        if name == "num_train" and issubclass(cls, (M2, ExemplarVAE)):
            continue  # which weighs labels if some are hidden, or tells how exemplars are recognised
        changed = losses(tiny_at(cls, **{name: OTHER[name]}), images)["loss"].item()
        assert changed != values["loss"].item(), (cls, name)


def tiny_at(cls: type[Autoencoder], **kwargs: Any) -> Any:
    """A model whose weights are a function of its class and arguments."""
    torch.manual_seed(2)
    small_too = {"discriminator": small} if issubclass(cls, FactorVAE) else {}
    small_too |= {"free_bits": 0.0} if issubclass(cls, SequenceVAE) else {}  # below which a rate costs nothing
    small_too |= {"discriminator_start": 0} if issubclass(cls, Judged) else {}
    small_too |= {"beta": 1.0} if issubclass(cls, AutoencoderKL) else {}  # else rounding hides what the rate depends on
    model = tiny(cls, **{**small_too, **kwargs})
    if issubclass(cls, SequenceVAE):
        model.warmup.set(100)  # at the first step, the rate has no weight
    return model


@pytest.mark.parametrize(
    ("bases", "message"),
    [
        ((IWAE, BetaVAE), "IWAE and BetaVAE do not go together in this order: objective of IWAE hides .*put BetaVAE f"),
        ((LadderVAE, VampVAE), "LadderVAE and VampVAE do not go together: VampVAE sets prior, and LadderVAE takes n"),
        ((VampVAE, LadderVAE), "VampVAE and LadderVAE do not go together: LadderVAE sets prior, and VampVAE takes n"),
        ((BetaTCVAE, LadderVAE), "LadderVAE and BetaTCVAE do not go together: the dimensions of its posterior are not"),
        ((ConditionalVAE, LadderVAE), "ConditionalVAE and LadderVAE do not go together: encode of ConditionalVAE"),
        ((ConditionalVAE, VampVAE), "VampVAE and ConditionalVAE do not go together: a pseudo-input has no class"),
        ((FlowVAE, LadderVAE), "LadderVAE and FlowVAE do not go together: FlowVAE sets p"),
        ((FlowVAE, VampVAE), "VampVAE and FlowVAE do not go together: FlowVAE sets prior"),
        ((VQVAE, IWAE), "VQVAE and VAE do not go together: losses of VQVAE hides that of VAE"),
        ((AE, BetaVAE), "AE and VAE do not go together"),
        ((FactorVAE, BetaTCVAE), "both have an argument gamma, and that of BetaTCVAE would do nothing"),
        ((CIWAE, BetaVAE), "both have an argument beta, and that of BetaVAE would do nothing"),
        ((IWAEDReG, CIWAE), "IWAEDReG and CIWAE do not go together: the weights of the gradient"),
        ((DenoisingVAE, M2), "M2 and DenoisingVAE do not go together: .* encodes every class .* itself, without noise"),
        ((M2, DenoisingVAE), "M2 and DenoisingVAE do not go together: .* encodes every class .* itself, without noise"),
        ((AdaGVAE, M2), "M2 and AdaGVAE do not go together: .* encodes every class .* itself, without pairs"),
        ((AdaMLVAE, M2), "M2 and AdaGVAE do not go together: .* encodes every class .* itself, without pairs"),
        ((InfoVAE, JointVAE), "JointVAE and InfoVAE do not go together: its capacities set the rates"),
    ],
    ids=lambda value: "".join(base.__name__ for base in value) if isinstance(value, tuple) else "",
)
def test_refused(bases: tuple[type, type], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tiny(pair(*bases))


def test_beta_weights_the_rate_of_whatever_follows(images: Tensor) -> None:
    """β on the divergence alone: not on the discriminator's term, and in the weights of importance sampling."""
    model = tiny_at(pair(BetaVAE, FactorVAE), beta=3.0, gamma=2.0)
    values = losses(model, images)
    expected = 3 * values["kl"] - values["reconstruction"] + 2 * values["tc"] + values["discriminator_loss"]
    torch.testing.assert_close(values["loss"], expected)
    other = losses(tiny_at(pair(FactorVAE, BetaVAE), beta=3.0, gamma=2.0), images)
    torch.testing.assert_close(values["loss"], other["loss"])
    model = tiny_at(pair(BetaVAE, IWAE), beta=3.0, num_samples=4)
    torch.manual_seed(1)
    elbo = model.elbo(images, num_samples=4)
    weights = elbo.log_px + 3 * (elbo.log_pz - elbo.log_qz)
    bound = (weights.logsumexp(0) - torch.tensor(4.0).log()).mean()
    torch.testing.assert_close(losses(model, images)["loss"], -bound)


@pytest.mark.parametrize(
    ("first", "second"),
    [(cls, prior) for cls in (DenoisingVAE, AdaGVAE, AdaMLVAE) for prior in (VampVAE, ExemplarVAE)]
    + [(DenoisingVAE, TwoLevelVAE)],
    ids=lambda cls: cls.__name__,
)
def test_what_disturbs_a_training_batch_leaves_the_prior_as_in_evaluation(first: type, second: type) -> None:
    """Neither noise on pseudo-inputs and exemplars, nor pairs of them; examples are disturbed as before."""
    spread = {"pseudo_std": 1.0} if issubclass(second, VampVAE) else {}  # else all pseudo-inputs are nearly equal
    model, z, x = tiny_at(pair(first, second), **spread).train(), torch.randn(5, 4), torch.rand(6, 1, 8, 8)
    in_training = model.prior()
    torch.manual_seed(0)
    log_pz, disturbed = in_training.log_prob(z), model.encode(x).sample((500,)).mean(0)
    torch.manual_seed(0)
    model.eval()
    torch.testing.assert_close(log_pz, model.prior().log_prob(z), rtol=1e-6, atol=0)
    assert not torch.allclose(disturbed, model.encode(x).sample((500,)).mean(0))


def test_noise_leaves_the_metric_as_in_evaluation() -> None:
    model = tiny_at(pair(RHVAE, DenoisingVAE)).train()
    assert torch.equal(model.metric().centroids, model.eval().metric().centroids)


def test_a_model_is_in_training_again_after_its_prior_could_not_be_made() -> None:
    model = tiny_at(VampVAE).train()
    with torch.no_grad():
        model.pseudo = torch.nn.Parameter(torch.rand(6, 3))
    with pytest.raises(ValueError, match="shape"):
        model.prior()
    assert model.training


class Own(BetaVAE):
    """A user's own objective, which hides that of a class it derives from, as is meant."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": (self.beta * elbo.kl.clamp(min=1) - elbo.log_px.mean(0)).mean()}


class OwnPrior(VampVAE):
    """A subclass that has the argument again that its base fixes."""

    def __init__(self, *, prior: Any = MixtureNormal, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mixture = prior((self.latent_dim,))

    def prior(self, c: Tensor | None = None) -> Any:
        return self.mixture(c)


class Mixin:
    """No model: what it hides, it hides on purpose."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": (elbo.kl.square() - elbo.log_px.mean(0)).mean()}


class Mixed(Mixin, BetaVAE):
    pass


class Both(IWAE, BetaVAE):
    """A class that decides for itself."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return IWAE.objective(self, elbo.weighted(self.beta))


class Width(ConditionalVAE):
    """Another default of an argument of its base's, passed on by name."""

    def __init__(self, *, latent_dim: int = 3, **kwargs: Any) -> None:
        super().__init__(latent_dim=latent_dim, **kwargs)


class Halved(VAE):
    def __init__(self, *, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(beta=beta / 2, **kwargs)


class HalvedBeta(Halved, BetaVAE):
    pass


@pytest.mark.parametrize("cls", [Own, OwnPrior, Mixed, Both, Width, HalvedBeta], ids=lambda cls: cls.__name__)
def test_not_refused(cls: type[Autoencoder], images: Tensor) -> None:
    given = {"prior": MixtureNormal} if cls is OwnPrior else {}
    assert losses(tiny(cls, **given), images)["loss"].isfinite()


class TestArgumentsWithoutEffect:
    @pytest.mark.parametrize(
        ("cls", "given", "message"),
        [
            (VampVAE, {"prior": MixtureNormal}, "VampVAE takes no prior: it is the mixture of the posteriors"),
            (LadderVAE, {"posterior": DiagonalNormal}, "LadderVAE takes no posterior: every layer of its latents is"),
            (LadderVAE, {"prior": MixtureNormal}, "LadderVAE takes no prior"),
            (VQVAE, {"posterior": DiagonalNormal}, "VQVAE has no use for the spread of DiagonalNormal"),
            (AE, {"posterior": partial(FixedNormal, scale=0.3)}, "AE has no use for the spread of FixedNormal"),
            (LadderVAE, {"latent_dims": [4, 2], "latent_dim": 9}, "latent_dim is 9, but latent_dims add up to 6"),
        ],
    )
    def test_is_refused(self, cls: type[Autoencoder], given: Any, message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=message):
            cls(**{"shape": (1, 8, 8), **linked(cls), "encoder": Dense, "decoder": Dense, **given})


def test_units_of_both() -> None:
    assert {"tc", "bound"} <= pair(FactorVAE, IWAE).units.keys()
