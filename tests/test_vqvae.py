"""The VQ-VAE: its bound, its gradients, its codes during a fit, and its samples."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Record, Spy, fit, load_arrays, losses, quiet_trainer, same_weights, small, tiny, tiny_data
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from vae_zoo.callbacks import (
    Evidence,
    FitCodePrior,
    LinearAnnealing,
    PredictionWriter,
    ReconstructionGrid,
    SampleGrid,
    TraversalGrid,
)
from vae_zoo.distributions import FixedNormal
from vae_zoo.models import VAE, VQVAE
from vae_zoo.nn import Codebook, CodePrior, EMACodebook, GridDecoder, GridEncoder

PRIOR = partial(CodePrior, width=8, num_heads=2)
KWARGS = {"encoder": small, "decoder": small, "latent_dim": 3, "num_codes": 6, "code_prior": PRIOR}
every_codebook = pytest.mark.parametrize(
    "codebook", [Codebook, partial(EMACodebook, revive_after=2)], ids=["gradient", "ema"]
)


def vqvae(**kwargs: Any) -> VQVAE:
    model = tiny(VQVAE, **{**KWARGS, **kwargs})
    model.initialise(tiny_data().examples("train"))
    return model


class TestBound:
    def test_is_below_the_evidence_of_all_codes(self, images: Tensor) -> None:
        """One place of 6 codes: log p(x) is a sum of 6 terms."""
        model = vqvae(grid=(1, 1))
        every = torch.arange(6).reshape(6, 1, 1)
        log_px = model.decode(model.codebook.lookup(every)[:, None]).log_prob(images)  # (6, B)
        evidence = torch.logsumexp(log_px + model.code_prior.log_prob(every)[:, None], 0)
        values = model.eval().losses(images)
        assert values["elbo"] < evidence.mean()
        codes = model.codes(images).flatten()
        rate = -model.code_prior.log_prob(every)[codes].mean()
        torch.testing.assert_close(values["kl"], rate)
        torch.testing.assert_close(values["elbo"], log_px[codes, torch.arange(16)].mean() - rate)

    def test_loss_is_its_terms(self, images: Tensor) -> None:
        model = vqvae(beta=0.5, likelihood=partial(FixedNormal, scale=0.3))
        z, values = model._latents(images), losses(model, images)
        e = model.codebook.lookup(model.codes(images))
        square = (z - e).square().sum((1, 2, 3)).mean()
        log_px = model.decode(e).log_prob(images).mean()
        torch.testing.assert_close(values["loss"], 1.5 * square - log_px + values["kl"])
        torch.testing.assert_close(values["commitment"], square)

    @every_codebook
    def test_a_doubled_batch_costs_the_same(self, images: Tensor, codebook: Any) -> None:
        model = vqvae(codebook=codebook)
        one, two = losses(model, images), losses(model, torch.cat([images] * 2))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value)

    @every_codebook
    def test_the_prior_has_no_say_in_the_codes(self, images: Tensor, codebook: Any) -> None:
        model = vqvae(codebook=codebook)
        model.losses(images)["kl"].backward()
        with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        assert with_gradient == {"code_prior"}


class TestLatents:
    @pytest.mark.parametrize(
        ("shape", "grid"), [((1, 28, 28), (7, 7)), ((3, 33, 47), (8, 11)), ((1, 3, 5), (1, 1)), ((17,), (8,))]
    )
    def test_grid(self, shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
        networks = {"encoder": partial(GridEncoder, width=4), "decoder": partial(GridDecoder, width=4)}
        model = tiny(VQVAE, shape=shape, **{**KWARGS, **(networks if len(shape) == 3 else {})})
        x = torch.rand(2, *shape)
        losses(model, x)["loss"].backward()
        assert model.codes(x).shape == (2, *grid)
        assert model.embed(x).shape == (2, 3, *grid)
        assert model.sample(3).shape == (3, *shape)

    def test_one_path_from_example_to_reconstruction(self, images: Tensor) -> None:
        model = vqvae()
        e = model.codebook.lookup(model.codes(images))
        assert torch.equal(model.embed(images), e)
        assert torch.equal(model.reconstruct(images), model.decode(e).mean)
        predicted = model.predict_step(images, 0)
        assert torch.equal(predicted["codes"], model.codes(images))
        assert torch.equal(predicted["reconstruction"], model.reconstruct(images))

    def test_samples_are_of_codes_of_the_prior(self) -> None:
        model = vqvae()
        torch.manual_seed(3)
        x = model.sample(5)
        torch.manual_seed(3)
        assert torch.equal(x, model.decode(model.codebook.lookup(model.code_prior.sample(5))).mean)


class TestFit:
    @every_codebook
    def test_resumed(self, codebook: Any, tmp_path: Path) -> None:
        save = partial(ModelCheckpoint, every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False)
        on = {"kwargs": {**KWARGS, "codebook": codebook}, "enable_checkpointing": True, "max_epochs": 3}
        whole, _ = fit(tmp_path, VQVAE, callbacks=[save(tmp_path / "saved", filename="{step}")], **on)
        for step in (3, 7):
            again = save(tmp_path / "saved", filename="{step}")
            path = tmp_path / "saved" / f"{step}.ckpt"
            resumed, _ = fit(tmp_path, VQVAE, callbacks=[again], seed=9, ckpt_path=path, **on)
            assert same_weights(whole, resumed)

    def test_codes_move_once_a_step(self, tmp_path: Path) -> None:
        vectors = Spy(lambda _, model: model.codebook.vectors.clone())
        on = {"kwargs": {**KWARGS, "codebook": EMACodebook}, "max_epochs": 1, "accumulate_grad_batches": 2}
        model, trainer = fit(tmp_path, VQVAE, callbacks=[vectors], **on)
        same = [torch.equal(a, b) for a, b in zip(vectors.seen, vectors.seen[1:], strict=False)]
        assert same == [True, False, True, False]
        before = model.codebook.state_dict()
        before = {k: v.clone() for k, v in before.items()}
        trainer.validate(model, tiny_data(), verbose=False)
        assert all(torch.equal(before[k], v) for k, v in model.codebook.state_dict().items())

    def test_curves(self, tmp_path: Path) -> None:
        logger = Record()
        model, trainer = fit(tmp_path, VQVAE, kwargs=KWARGS, logger=logger, callbacks=[Evidence()])
        assert 1 <= logger.curve("val/perplexity")[4] <= logger.curve("val/used_codes")[4] <= 6
        (values,) = trainer.test(model, tiny_data(), verbose=False)
        assert values["test/elbo"] == pytest.approx(values["test/reconstruction"] - values["test/kl"], rel=1e-5)
        assert "test/log_evidence" not in values

    def test_usage_is_that_of_the_whole_split(self, tmp_path: Path) -> None:
        """Neither is linear: their means over batches rose from 13.8 to 50.1 with the size of a batch."""
        model, found = tiny(VQVAE, **KWARGS), []
        model.initialise(tiny_data().examples("train"))
        for size in (2, 5, 50):
            data, logger = tiny_data(eval_batch_size=size), Record()
            found += quiet_trainer(tmp_path, logger=logger).test(model, data, verbose=False)
        codes = model.codes(data.examples("test")).flatten()
        part = codes.bincount(minlength=6) / len(codes)
        perplexity = torch.distributions.Categorical(part).entropy().exp().item()
        assert perplexity > 1.2
        assert [row["test/perplexity"] for row in found] == pytest.approx([perplexity] * 3, rel=1e-5)
        assert [row["test/used_codes"] for row in found] == [int((part > 0).sum())] * 3
        assert {name for row in found for name in row if "usage" in name} == set()

    def test_pictures_and_files(self, tmp_path: Path) -> None:
        grids = [cls(every_n_epochs=1) for cls in (SampleGrid, ReconstructionGrid, TraversalGrid)]
        model, trainer = fit(tmp_path, VQVAE, kwargs=KWARGS, callbacks=[*grids, PredictionWriter()], max_epochs=1)
        trainer.predict(model, tiny_data(), return_predictions=False)
        pictures = {path.stem.split("_")[0] for path in tmp_path.rglob("*.png")}
        assert pictures == {"samples", "reconstructions"}
        codes = load_arrays(tmp_path / "latents.npz")["codes"]
        np.testing.assert_array_equal(codes, model.codes(tiny_data().examples("test")))

    def test_has_nothing_to_anneal(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="LinearAnnealing needs a model with a bound, VQVAE has none"):
            fit(tmp_path, VQVAE, kwargs=KWARGS, callbacks=[LinearAnnealing(num_steps=3)])


class TestFitCodePrior:
    @every_codebook
    def test_fits_nothing_else_in_the_last_epochs(self, codebook: Any, tmp_path: Path) -> None:
        spy = Spy(lambda _, model: {k: v.clone() for k, v in model.state_dict().items()})
        scheduler = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=4)
        kwargs = {**KWARGS, "codebook": codebook, "scheduler": scheduler}
        model, trainer = fit(tmp_path, VQVAE, kwargs=kwargs, callbacks=[FitCodePrior(num_epochs=2), spy], max_epochs=4)
        early, first, last = spy.seen[0], spy.seen[10], model.state_dict()  # of 5 steps an epoch
        for name, value in last.items():
            moved = not torch.equal(first[name], value)
            assert moved == name.startswith("code_prior."), name
        assert not torch.equal(early["encoder.layers.1.weight"], first["encoder.layers.1.weight"])
        assert not torch.equal(early["codebook.vectors"], first["codebook.vectors"])
        assert not model.frozen
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        longer, _ = fit(
            tmp_path,
            VQVAE,
            kwargs=kwargs,
            callbacks=[FitCodePrior(num_epochs=1)],
            max_epochs=6,
            ckpt_path=tmp_path / "a.ckpt",
        )
        assert not torch.equal(longer.encoder.layers[1].weight, model.encoder.layers[1].weight)

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="num_epochs must be at least 1, got 0"):
            FitCodePrior(num_epochs=0)
        trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[FitCodePrior(num_epochs=2)])
        with pytest.raises(ValueError, match="FitCodePrior needs a VQVAE, got a VAE"):
            trainer.fit(tiny(VAE), tiny_data())
        with pytest.raises(ValueError, match="max_epochs must be above FitCodePrior's num_epochs of 2, got 2"):
            trainer.fit(vqvae(), tiny_data())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_codes": 0}, "num_codes and dim must be at least 1"),
        ({"grid": (0, 2)}, r"the sides of the grid must be at least 1, got \(0, 2\)"),
        ({"grid": ()}, r"the sides of the grid must be at least 1, got \(\)"),
        ({"beta": -1.0}, "beta must be at least 0 and finite, got -1.0"),
        ({"beta": math.nan}, "beta must be at least 0 and finite, got nan"),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(VQVAE, **{**KWARGS, **kwargs})
