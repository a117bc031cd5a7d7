"""Components of the wrong kind or shape are refused in one clear line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Batches, build, labels, losses, quiet_trainer, saved, tiny, tiny_data
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

import vae_zoo
from vae_zoo.distributions import (
    DiagonalNormal,
    FixedNormal,
    MixtureNormal,
    OptimalNormal,
    Point,
    Prior,
    StandardNormal,
)
from vae_zoo.models import AE, VAE, VQVAE, Autoencoder, BetaVAE, ConditionalVAE, FactorVAE, LadderVAE
from vae_zoo.nn import Codebook, CodePrior, Dense
from vae_zoo.training import steps

COLOUR = (3, 8, 8)


class Grey(nn.Module):
    """Gives the first channel alone, which broadcasts to all of them."""

    def __init__(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net = Dense(in_shape, out_shape, hidden=[8])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, :1]


class Flat(Grey):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).flatten(1)


class Pair(Grey):
    def forward(self, x: Tensor) -> Any:
        return self.net(x), x


class Half(Grey):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[: len(x) // 2]


class Scattered(FixedNormal):
    """A likelihood that has forgotten Independent."""

    def distribution(self, params: Tensor) -> Distribution:
        return Normal(params, 0.1, validate_args=False)


class Short(FixedNormal):
    """The same in a forward of its own, of the last dimension alone."""

    def forward(self, params: Tensor) -> Distribution:
        return Independent(Normal(params, 0.1, validate_args=False), 1, validate_args=False)


class Loose(DiagonalNormal):
    def distribution(self, params: Tensor) -> Distribution:
        return super().distribution(params).base_dist


class Other(DiagonalNormal):
    def forward(self, params: Tensor) -> Any:
        return params


class Twice(StandardNormal):
    """A prior over more dimensions than there are."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__((2 * shape[0],))


class Wide(Prior):
    """A prior that has forgotten Independent."""

    def forward(self, c: Tensor | None = None) -> Distribution:
        return Normal(torch.zeros(self.shape), 1.0)


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize(
    ("cls", "given", "message"),
    [
        (VAE, {"decoder": Grey}, r"decoder must give \(B, 3, 8, 8\), gave \(B, 1, 8, 8\)"),
        (VAE, {"decoder": Flat}, r"decoder must give \(B, 3, 8, 8\), gave \(B, 192\)"),
        (VAE, {"decoder": Pair}, r"decoder must give \(B, 3, 8, 8\), gave a tuple"),
        (VAE, {"decoder": Half}, r"decoder must give \(B, 3, 8, 8\), gave \(\d, 3, 8, 8\) for B = \d"),
        (VAE, {"encoder": Grey}, r"encoder must give \(B, 2, 4\), gave \(B, 1, 4\)"),
        (AE, {"encoder": Grey}, r"encoder must give \(B, 4\), gave \(B, 1\)"),
        (AE, {"decoder": Grey}, r"decoder must give \(B, 3, 8, 8\), gave \(B, 1, 8, 8\)"),
        (VQVAE, {"encoder": Grey}, r"encoder must give \(B, 4, 2, 2\), gave \(B, 1, 2, 2\)"),
        (VQVAE, {"decoder": Grey}, r"decoder must give \(B, 3, 8, 8\), gave \(B, 1, 8, 8\)"),
        (ConditionalVAE, {"encoder": Grey}, r"encoder must give \(B, 2, 4\), gave \(B, 1, 4\)"),
        (ConditionalVAE, {"decoder": Grey}, r"decoder must give \(B, 3, 8, 8\), gave \(B, 1, 8, 8\)"),
        (LadderVAE, {"encoder": Grey}, r"encoder must give \(B, 128\), gave \(B, 1\)"),
        (LadderVAE, {"layer": Grey}, r"layer must give \(B, 128\), gave \(B, 1\)"),
        (FactorVAE, {"discriminator": Flat}, ""),
        (FactorVAE, {"discriminator": Pair}, r"discriminator must give \(B, 1\), gave a tuple"),
    ],
)
def test_outputs_of_networks(cls: type[Autoencoder], given: Any, message: str, batch: int) -> None:
    if (batch == 1 and {*given.values()} & {Half}) or (batch == 1 and cls is FactorVAE):
        return  # half of one is nothing, and a discriminator compares examples
    model = tiny(cls, shape=COLOUR, **given)
    x = torch.rand(batch, *COLOUR)
    if not message:
        assert losses(model, x)["loss"].isfinite()
        return
    with pytest.raises(ValueError, match=message):
        model.losses(x, labels(model, x))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"likelihood": Scattered},
            r"Scattered must have batch shape \(2,\) and event shape \(3, 8, 8\), has",
        ),
        ({"likelihood": Scattered}, r"wrap it in torch.distributions.Independent\(…, 3\)"),
        ({"likelihood": Short}, r"has \(2, 3, 8\) and \(8,\): wrap it in torch.distributions.Independent\(…, 2\)"),
        ({"posterior": Loose}, r"posterior Loose must have batch shape \(2,\) and event shape \(4,\)"),
        ({"posterior": Other}, r"posterior Other must give a distribution of torch.distributions, gave a Tensor"),
        ({"prior": Twice}, r"DiagonalNormal and Twice do not go together: latents are of shape \(4,\) and \(8,\)"),
        ({"prior": Wide}, r"DiagonalNormal and Wide do not go together: latents are of shape \(4,\) and \(\)"),
        ({"likelihood": Point}, "Point cannot be the likelihood: it has no log_prob to score data by"),
        ({"posterior": OptimalNormal}, "OptimalNormal cannot be the posterior: its scale is computed from data"),
    ],
)
def test_distributions_of_other_shapes(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(VAE, shape=COLOUR, **given)


class Scatters(VAE):
    """The same mistakes in hooks of one's own, which a look at the components cannot see."""

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(z, c).base_dist


class Sums(VAE):
    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        px = super().decode(z, c)
        return Summed(px.base_dist.loc)


class Summed(Independent):
    """Sums over the wrong dimensions."""

    def __init__(self, loc: Tensor) -> None:
        super().__init__(Normal(loc, 0.1), 3, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base_dist.log_prob(value).sum((-1, -2))


class Encodes(VAE):
    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return super().encode(x, c).base_dist


class Classes(VAE):
    def prior(self, c: Tensor | None = None) -> Distribution:
        return Independent(Normal(torch.zeros(5, 4), 1.0), 1)


class Mean(VAE):
    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> Any:
        terms = super().elbo(x, c, num_samples)
        return terms._replace(log_px=terms.log_px.mean(0))


class Bare(VAE):
    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> Any:
        return super().elbo(x, c, num_samples).value


@pytest.mark.parametrize("batch", [1, 8])  # 8 is also a side
@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Scatters, r"likelihood p\(x\|z\) must have batch shape \(1, \d\) and event shape \(3, 8, 8\), has"),
        (Sums, r"log p\(x\|z\) must be of shape \(1, \d\), one number an example, is \(1, \d, 3\)"),
        (Encodes, r"posterior q\(z\|x\) must have batch shape \(\d,\) and event shape \(\)"),
        (Classes, r"prior p\(z\) must have batch shape \(\d,\) and event shape \(4,\), has \(5,\) and \(4,\)"),
        (Mean, r"log p\(x\|z\) must be of shape \(K, B\) and the divergence \(B,\)"),
        (Bare, "Bare.elbo must give an ELBO, gave a Tensor"),
    ],
)
def test_shapes_of_hooks(cls: type[VAE], message: str, batch: int) -> None:
    model = tiny(cls, shape=COLOUR, likelihood=FixedNormal)
    with pytest.raises(ValueError, match=message):
        model.losses(torch.rand(batch, *COLOUR))
    if cls not in (Mean, Bare):
        with pytest.raises(ValueError, match=message):
            model.log_evidence(torch.rand(batch, *COLOUR), num_samples=1)


@pytest.mark.exhaustive
def test_a_compiled_model_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "compiled", lambda cls, **_: torch.compile(cls.losses, backend="eager"))
    model = tiny(AE, shape=COLOUR, decoder=Grey, compiled=True)
    with pytest.raises(ValueError, match=r"decoder must give \(B, 3, 8, 8\), gave \(B, 1, 8, 8\)"):
        quiet_trainer(tmp_path).validate(model, Batches(torch.rand(4, *COLOUR)), verbose=False)


class Hook(VAE):
    """Gives what it is told from its objective."""

    gives: Any = staticmethod(lambda loss: loss)

    def objective(self, elbo: Any) -> Any:
        return type(self).gives(super().objective(elbo)["loss"])


@pytest.mark.parametrize(
    ("gives", "came"),
    [
        (lambda loss: loss, "gave a Tensor"),
        (lambda loss: None, "gave a NoneType"),
        (lambda loss: {}, "gave one with nothing"),
        (lambda loss: {"gap": loss, "mi": loss}, "gave one with gap, mi"),
        (lambda loss: {"loss": 1.0}, "loss is a float"),
        (lambda loss: {"loss": loss.expand(3)}, r"loss has shape \(3,\)"),
        (lambda loss: {"loss": loss, "gap": 1.0}, "gap is a float"),
        (lambda loss: {"loss": loss, "gap": loss.expand(10)}, r"gap has shape \(10,\)"),
        (lambda loss: {"loss": loss.detach()}, "has no gradient: it was detached"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_hooks_give(gives: Any, came: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hook, "gives", staticmethod(gives))
    with pytest.raises(ValueError, match=came) as error:
        quiet_trainer(tmp_path, max_epochs=1).fit(tiny(Hook), tiny_data())
    assert "gradient" in came or str(error.value).startswith(
        "Hook.objective must give a dictionary with a scalar tensor `loss`"
    )


class Bad(AE):
    def losses(self, x: Tensor, c: Tensor | None = None) -> Any:
        return {"loss": super().losses(x, c)["loss"], "each": x.flatten(1).mean(1)}


def test_what_losses_give(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Bad.losses must give .*: each has shape \(10,\)"):
        quiet_trainer(tmp_path, max_epochs=1).fit(tiny(Bad), tiny_data())


class Late(VAE):
    """Reads in a property what is set once the networks have been built."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = 3

    @property
    def inner(self) -> int:
        return self.width + 1

    @property
    def encoder_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.inner,), self.posterior.param_shape


def test_what_a_property_misses() -> None:
    with pytest.raises(ValueError, match=r"Late.inner reads width, .*: set it before super\(\).__init__\(\)"):
        tiny(Late)


class Squashed(DiagonalNormal):
    """Latents within (-1, 1), whose mean has no form."""

    def distribution(self, params: Tensor) -> Distribution:
        return TransformedDistribution(super().distribution(params), [TanhTransform(cache_size=1)])


def test_a_posterior_without_a_mean(tmp_path: Path, images: Tensor) -> None:
    model = tiny(VAE, posterior=Squashed)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, tiny_data())
    before = torch.get_rng_state()
    z = model.eval().embed(images)
    assert torch.equal(z, model.embed(images))
    assert torch.equal(torch.get_rng_state(), before)
    q = model.encode(images)
    torch.testing.assert_close(z, q.sample((20_000,)).mean(0), atol=0.15, rtol=0)
    found = trainer.predict(model, torch.utils.data.DataLoader(images, batch_size=16))[0]
    torch.testing.assert_close(found["z_scale"], q.sample((20_000,)).std(0), atol=0.15, rtol=0)
    assert found["reconstruction"].shape == images.shape
    assert model.log_evidence(images, num_samples=10).isfinite().all()


def typed(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> nn.Module:
    return Dense(in_shape, out_shape, hidden=[8])


def untyped(in_shape, out_shape):
    return typed(in_shape, out_shape)


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


class Narrow(nn.Module):
    """Made from one shape alone."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()


def local() -> type[nn.Module]:
    class Local(Dense):
        pass

    return Local


@pytest.mark.parametrize(
    ("cls", "given", "message"),
    [
        (VAE, {"posterior": StandardNormal}, "posterior must make a Family, got StandardNormal, which is a Prior"),
        (VAE, {"posterior": Dense}, "posterior must make a Family, got Dense"),
        (VAE, {"posterior": BetaVAE}, "posterior must make a Family, got BetaVAE"),
        (VAE, {"likelihood": MixtureNormal}, "likelihood must make a Family, got MixtureNormal, which is a Prior"),
        (VAE, {"likelihood": torch.distributions.Normal}, "likelihood must make a Family, got Normal"),
        (VAE, {"prior": DiagonalNormal}, "prior must make a Prior, got DiagonalNormal, which is a Family"),
        (VAE, {"prior": None}, "prior must be given, got None"),
        (VAE, {"encoder": DiagonalNormal}, "encoder must make a network, got DiagonalNormal, which is a Family"),
        (VAE, {"decoder": partial(MixtureNormal, num_components=2)}, "decoder must make a network, got MixtureNormal"),
        (VAE, {"encoder": BetaVAE}, "encoder must make a network, got BetaVAE, which is a LightningModule"),
        (VAE, {"encoder": nn.Linear}, r"made from \(in_shape, out_shape\), here .*, which Linear is not"),
        (VAE, {"encoder": Narrow}, r"encoder must be made from \(in_shape, out_shape\), which Narrow is not"),
        (VAE, {"encoder": "Dense"}, "encoder must be a class that makes a network, or a partial of one, got 'Dense'"),
        (VAE, {"encoder": nn.Identity()}, "encoder: a constructor's argument must be plain data, a class or a partial"),
        (VAE, {"encoder": lambda a, b: typed(a, b)}, "encoder: a constructor's argument must be plain data, a class"),
        (VAE, {"encoder": untyped}, r"encoder: say what the function untyped returns, as in def untyped\(in_shape"),
        (VAE, {"encoder": local()}, "encoder: Local is defined inside a function, where no checkpoint can find it"),
        (VAE, {"optimizer": sgd}, "optimizer must make an optimizer, got sgd: say what the function returns"),
        (VAE, {"optimizer": Dense}, "optimizer must make an optimizer, got Dense"),
        (VAE, {"scheduler": torch.optim.Adam}, "scheduler must make a scheduler, got Adam"),
        (VQVAE, {"codebook": CodePrior}, "codebook must make a Quantizer, got CodePrior"),
        (VQVAE, {"code_prior": Codebook}, "code_prior must make a CodePrior, got Codebook, which is a Quantizer"),
        (FactorVAE, {"discriminator": DiagonalNormal}, "discriminator must make a network, got DiagonalNormal"),
        (LadderVAE, {"layer": Codebook}, "layer must make a network, got Codebook, which is a Quantizer"),
    ],
)
def test_components_of_another_kind(cls: type[Autoencoder], given: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as error:
        build(cls, **given)
    assert "\n" not in str(error.value)


class TestLoading:
    def test_a_function_that_says_what_it_returns(self, tmp_path: Path, images: Tensor) -> None:
        model = tiny(VAE, encoder=typed).eval()
        path = saved(tmp_path, model)
        with pytest.raises(ValueError, match=rf'typed is not trusted: .*\(path, trust=\["{__name__}"\]'):
            vae_zoo.load(path)
        again = vae_zoo.load(path, trust=[__name__])
        assert torch.equal(again.embed(images), model.embed(images))

    def test_a_class_in_hand(self, tmp_path: Path, images: Tensor) -> None:
        """A class defined inside a function cannot be found by its path, but whoever calls it has it."""

        class Inner(BetaVAE):
            def __init__(self, *, extra: float = 1.0, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.extra = extra

        model = tiny(Inner, extra=2.0, beta=3.0, optimizer=partial(torch.optim.SGD, lr=0.1)).eval()
        path = saved(tmp_path, model)
        for again in (Inner.load_from_checkpoint(path), Inner.load_from_checkpoint(path, beta=3.0, strict=True)):
            assert type(again) is Inner
            assert (again.extra, again.beta) == (2.0, 3.0)
            assert torch.equal(again.eval().embed(images), model.embed(images))
        assert saved(tmp_path, again).is_file()
        with pytest.raises(ValueError, match=r"defined inside a function: call Inner.load_from"):
            vae_zoo.load(path)

    def test_a_class_of_a_script(self, tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a notebook has trained, another program reads by the class that it has under the same name."""
        monkeypatch.setattr(Scripted, "__module__", "__main__")
        model = tiny(Scripted).eval()
        path = saved(tmp_path, model)
        monkeypatch.undo()
        again = Scripted.load_from_checkpoint(path).eval()
        assert torch.equal(again.embed(images), model.embed(images))
        with pytest.raises(ValueError, match="Scripted was defined in a script or notebook, which this is"):
            vae_zoo.load(path)


class Scripted(VAE):
    """Stands for a class of a notebook."""
