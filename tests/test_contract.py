"""Requirements on every model besides the conformance suite, over ``models.__all__`` too."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import (
    BOUNDS,
    MODELS,
    SHAPE,
    build,
    fit,
    fixes,
    labels,
    linked,
    losses,
    narrow,
    quiet_trainer,
    same_weights,
    tiny_data,
)
from short import few
from torch import Tensor, nn

from vae_zoo import hub
from vae_zoo.checkpoints.hyperparameters import plain
from vae_zoo.distributions import Bernoulli, FixedNormal, SharedNormal
from vae_zoo.models import DFCVAE, IWAE, MLPVAE, MSSSIMVAE, VAE, Autoencoder, BetaVAE, ConvVAE, FactorVAE
from vae_zoo.models.tokenizers.judged import Judged
from vae_zoo.nn import ConvEncoder, Dense
from vae_zoo.system.seeding import seed_all
from vae_zoo.testing.losses import ONE_GRAPH
from vae_zoo.training.steps import Steps, compiled

every_model = pytest.mark.parametrize("cls", MODELS)
some_models = pytest.mark.parametrize("cls", few(MODELS, 3, FactorVAE))


SMALL = [(3, 3, 5), (1,), (2, 3)]


@pytest.mark.parametrize(
    ("cls", "shape"), [case for cls in MODELS for case in few([(cls, shape) for shape in SMALL], 1)]
)
def test_small_and_odd_shapes(cls: type[Autoencoder], shape: tuple[int, ...]) -> None:
    """Beside those of the conformance suite."""
    pictures = issubclass(cls, (DFCVAE, MSSSIMVAE, Judged))
    if (issubclass(cls, ConvVAE) and len(shape) < 2) or (pictures and len(shape) != 3):
        with pytest.raises(ValueError, match="needs images|use Dense" if pictures else "use Dense"):
            build(cls, shape=shape)
        return
    model, x = build(cls, shape=shape), torch.rand(3, *shape)
    losses(model, x)["loss"].backward()
    assert model.reconstruct(x, labels(model, x)).shape == x.shape
    assert model.embed(x, labels(model, x)).shape == (3, *model.latent_shape)


@every_model
class TestLosses:
    def test_refuses_examples_it_cannot_take(self, cls: type[Autoencoder], images: Tensor) -> None:
        model = build(cls)
        for x in (images[:, 0], images.expand(-1, 3, -1, -1), images[..., :4]):
            for method in (model.losses, model.embed, model.reconstruct):
                with pytest.raises(ValueError, match=r"the model is for examples of shape \(1, 8, 8\), the data have"):
                    method(x, labels(model, x))
        with pytest.raises(ValueError, match=r"examples must be floating point, got torch\.uint8"):
            model.losses((images * 255).to(torch.uint8))

    @pytest.mark.parametrize("likelihood", few([FixedNormal, Bernoulli, SharedNormal], 1, FixedNormal))
    def test_half_precision(self, cls: type[Autoencoder], images: Tensor, likelihood: type) -> None:
        """Densities and divergences stay in float32: what is left is the rounding of the networks."""
        if fixes(cls, "likelihood"):
            pytest.skip("its likelihood is none of these")
        model = build(cls, likelihood=likelihood)
        exact = losses(model, images)["loss"]  # in float32, whose noise the others draw too
        with torch.autocast("cpu", torch.bfloat16):
            mixed = losses(model, images)["loss"]
        half = losses(model.bfloat16(), images.bfloat16())["loss"]
        assert mixed.dtype == half.dtype == exact.dtype == torch.float32
        torch.testing.assert_close(mixed, exact, rtol=0.01, atol=0.1)
        torch.testing.assert_close(half, exact, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("cls", few(BOUNDS, 1, IWAE))
def test_an_annealed_objective_is_one_graph(cls: type[VAE], images: Tensor) -> None:
    model, c = build(cls), labels(cls, images)
    if not model.compilable:
        pytest.skip("this torch does not compile it")
    whole = torch.compile(cls.losses, fullgraph=ONE_GRAPH, backend="eager")
    model.kl_weight = torch.tensor(0.5)
    torch.manual_seed(1)
    torch.testing.assert_close(whole(model, images, c)["loss"], losses(model, images)["loss"])


class TestCopies:
    @pytest.mark.parametrize("cls", few(MODELS, 1, VAE))
    def test_a_copy_of_a_compiled_model_computes_with_its_own_weights(
        self, cls: type[Autoencoder], images: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        eager = torch.compile(cls.losses, backend="eager", fullgraph=ONE_GRAPH)
        monkeypatch.setattr("vae_zoo.training.steps.compiled", lambda _: eager)
        model = build(cls, compiled=True)
        batch = (images, labels(model, images))
        step = partial(model._update, "train", batch)
        seed_all(1, model.device)
        before = step()
        other = copy.deepcopy(model)
        with torch.no_grad():
            for p in other.parameters():
                p.mul_(0.5)  # not 0, whose spectral norm divides by it
        seed_all(1, model.device)
        near = {"rtol": 1e-4, "atol": 0.0}  # each step improves the estimate of a spectral norm
        torch.testing.assert_close(other._update("train", batch), losses(other, images)["loss"], **near)
        seed_all(1, model.device)
        torch.testing.assert_close(step(), before, **near)
        assert model.state_dict().keys() == build(cls).state_dict().keys()  # no _orig_mod, which loads nowhere else

    @every_model
    def test_compiled_once_a_class(self, cls: type[Autoencoder], images: Tensor) -> None:
        assert compiled(cls) is compiled(cls)
        assert not build(cls).compiled


@pytest.mark.parametrize("cls", few([MLPVAE, ConvVAE], 1))
def test_arguments_survive_three_rounds(cls: type[Autoencoder], tmp_path: Path, images: Tensor) -> None:
    torch.manual_seed(5)
    model = cls(shape=SHAPE, latent_dim=4, likelihood=partial(FixedNormal, scale=0.3))
    c = labels(model, images)
    expected, path = model.reconstruct(images, c), tmp_path / "0.ckpt"
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    for n in range(3):
        torch.load(path, weights_only=True)
        for again in (
            cls.load_from_checkpoint(path),
            cls.load_from_checkpoint(path, weights_only=True),
            hub.load(path),
        ):
            assert type(again) is cls
            assert torch.equal(again.reconstruct(images, c), expected)
            given, full = model.recorded(), again.recorded()  # the defaults have been filled in
            assert full["class_path"] == given["class_path"]
            assert {name: full["init_args"][name] for name in given["init_args"]} == given["init_args"]
            assert dict(again.hparams) == full["init_args"]
        assert not hub.load(path).training
        path = tmp_path / f"{n + 1}.ckpt"
        trainer = quiet_trainer(tmp_path)
        trainer.strategy.connect(again)
        trainer.save_checkpoint(path)


@some_models
class TestCheckpoint:
    def test_of_a_fit(self, cls: type[Autoencoder], tmp_path: Path, images: Tensor) -> None:
        model, trainer = fit(tmp_path, cls, kwargs={"latent_dim": 3})
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        again = hub.load(tmp_path / "a.ckpt")
        assert same_weights(model, again)
        c = labels(model, images)
        assert torch.equal(again.reconstruct(images, c), model.eval().reconstruct(images, c))
        saved = hub.read(tmp_path / "a.ckpt")["vae_zoo"]
        assert saved["model"] == {
            "class_path": f"vae_zoo.models.{cls.__name__}",
            "init_args": {"shape": [1, 8, 8], "latent_dim": 3, **plain({**narrow(cls), **linked(cls)})},
        }
        assert saved["data"]["class_path"] == "vae_zoo.data.Sprites"

    @pytest.mark.exhaustive
    def test_refuses_another_class(self, cls: type[Autoencoder], tmp_path: Path) -> None:
        other = next(m for m in MODELS if m is not cls and not issubclass(cls, m))
        trainer = quiet_trainer(tmp_path, max_epochs=1)
        trainer.strategy.connect(build(cls))
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        with pytest.raises(
            ValueError, match=f"^the checkpoint holds a vae_zoo.models.{cls.__name__}, the model is a "
        ) as error:
            quiet_trainer(tmp_path, max_epochs=1).fit(build(other), tiny_data(), ckpt_path=tmp_path / "a.ckpt")
        assert "\n" not in str(error.value)
        if not issubclass(cls, other):
            with pytest.raises(
                ValueError, match=f"holds a {cls.__name__}, which is no {other.__name__}: load it by its own"
            ) as error:
                other.load_from_checkpoint(tmp_path / "a.ckpt")
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        *[(cls, {"latent_dim": 0}, "latent_dim must be at least 1, got 0.") for cls in MODELS],
        *[(cls, {"shape": ()}, "as in (1, 28, 28), from 1 on, got ().") for cls in MODELS],
        *[(cls, {"shape": (1, 0, 8)}, "from 1 on, got (1, 0, 8).") for cls in MODELS],
        *[(cls, {"num_samples": 0}, "num_samples must be at least 1, got 0.") for cls in BOUNDS],
        (BetaVAE, {"beta": -1.0}, "beta must be at least 0 and finite, got -1.0."),
        (BetaVAE, {"beta": math.nan}, "beta must be at least 0 and finite, got nan."),
        (BetaVAE, {"beta": math.inf}, "beta must be at least 0 and finite, got inf."),
        (VAE, {"likelihood": partial(FixedNormal, scale=0.0)}, "scale must be positive and finite, got 0.0."),
        (VAE, {"encoder": partial(Dense, hidden=[0])}, "hidden widths must be at least 1, got [0]."),
        (
            VAE,
            {"encoder": ConvEncoder, "shape": (17,)},
            "or volumes (C, D, H, W), got shape (17,): use Dense.",
        ),
    ],
)
def test_bad_values(cls: type[Autoencoder], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="got") as error:
        build(cls, **kwargs)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@every_model
@pytest.mark.parametrize("name", ["encoder", "likelihood"])
def test_an_instance_in_place_of_a_class(cls: type[Autoencoder], name: str) -> None:
    for value in (nn.Linear(1, 1), lambda *a: None):
        with pytest.raises(
            TypeError,
            match=f"takes no {name}" if fixes(cls, name) else "must be plain data, a class or a partial of one, got",
        ) as error:
            build(cls, **{name: value})
        assert "\n" not in str(error.value)


@every_model
def test_unknown_arguments(cls: type[Autoencoder]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'latent_size'"):
        build(cls, latent_size=3)


def test_the_base_is_abstract() -> None:
    for cls in (Autoencoder, Steps):
        with pytest.raises(TypeError, match="abstract"):
            cls(shape=SHAPE) if cls is Autoencoder else cls()


def test_variants_of_the_vae_differ_where_they_should(images: Tensor) -> None:
    torch.manual_seed(1)
    vae = build(VAE)
    for cls, kwargs in ((BetaVAE, {"beta": 1.0}), (IWAE, {"num_samples": 1}), (MLPVAE, {})):
        other = build(cls, **kwargs)
        other.load_state_dict(vae.state_dict())
        first, second = losses(vae, images), losses(other, images)
        assert torch.equal(first["elbo"], second["elbo"])
        if cls is not IWAE:  # whose estimator of the divergence is a sample
            assert torch.equal(first["loss"], second["loss"])
