"""The conditional VAE: how labels enter, what is refused, and whether a sample has the class that was asked for."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import Batches, build, linear, losses, quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import Evidence, PredictionWriter, ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.pictures import drawing
from vae_zoo.data import Digits
from vae_zoo.distributions import FixedNormal
from vae_zoo.models import VAE, ConditionalVAE, ConvVAE
from vae_zoo.nn import ConvDecoder, ConvEncoder, Dense


class ConvConditional(ConditionalVAE, ConvVAE):
    """Two variants in one."""


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (6,), (2, 3)])
def test_the_class_matters_to_both_networks(shape: tuple[int, ...]) -> None:
    model = tiny(ConditionalVAE, shape=shape)
    x, z = torch.rand(1, *shape).expand(3, *shape), torch.randn(5, 1, 4).expand(5, 3, 4)
    means, pictures = model.encode(x, torch.arange(3)).mean, model.decode(z, torch.arange(3)).mean
    assert pictures.shape == (5, 3, *shape)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(means[a], means[b])
        assert not torch.allclose(pictures[:, a], pictures[:, b])
    torch.testing.assert_close(model.decode(z[2], torch.arange(3)).mean, pictures[2])


def test_networks_see_one_hot_planes() -> None:
    model = tiny(ConditionalVAE, encoder=ConvEncoder)
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = torch.rand(2, 1, 8, 8)
    model.encode(x, torch.tensor([2, 0]))
    assert torch.equal(seen[0][:, :1], x)
    assert torch.equal(seen[0][:, 1:].mean((-2, -1)), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    combined = build(ConvConditional)
    assert isinstance(combined.decoder, ConvDecoder)
    losses(combined, x)["loss"].backward()


def test_a_linear_model_has_the_evidence_of_its_class() -> None:
    """Every class shifts the mean: the evidence is that of the linear-Gaussian model whose bias has it added."""
    plain, x, _ = linear()
    kwargs = {"encoder": partial(Dense, hidden=[]), "decoder": partial(Dense, hidden=[])}
    likelihood = partial(FixedNormal, scale=plain.scale)
    model = ConditionalVAE(shape=(5,), latent_dim=2, num_classes=3, likelihood=likelihood, **kwargs).double()
    with torch.no_grad():
        weight, bias = plain.decoder.layers[1].weight, plain.decoder.layers[1].bias
        shifts = model.decoder.layers[1].weight[:, 2:].clone()
        model.decoder.layers[1].weight[:, :2], model.decoder.layers[1].bias[:] = weight, bias
    c = torch.tensor([0, 2, 1, 2])
    exact = plain.exact_evidence(x - shifts.T[c])
    line = torch.linspace(-8, 8, 201, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)[:, None].expand(-1, 4, -1)
    joint = model.decode(z, c).log_prob(x) + model.prior(c).log_prob(z)
    torch.testing.assert_close(torch.logsumexp(joint, 0) + 2 * math.log(0.08), exact, rtol=0, atol=1e-4)


class TestLabels:
    def test_missing(self, images: Tensor) -> None:
        model = tiny(ConditionalVAE)
        for method in (model.encode, model.embed, model.reconstruct, model.losses, model.log_evidence):
            with pytest.raises(
                ValueError, match="ConditionalVAE needs labels: pass those of the examples as c"
            ) as error:
                method(images)
            assert "\n" not in str(error.value)

    @pytest.mark.parametrize("num_classes", [None, 0])
    def test_data_without(self, num_classes: int | None) -> None:
        with pytest.raises(ValueError, match=f"needs data with labels, got num_classes {num_classes}"):
            build(ConditionalVAE, num_classes=num_classes)

    @pytest.mark.parametrize("c", [[0, 3], [-1, 0]])
    def test_out_of_range(self, c: list[int], tmp_path: Path) -> None:
        model, x, labels = tiny(ConditionalVAE), torch.rand(2, 1, 8, 8), torch.tensor(c)
        for call in (lambda: model.embed(x, labels), lambda: model.sample(2, labels)):
            with pytest.raises(ValueError, match=f"labels must lie in 0 .. 2, got {min(c)} to {max(c)}"):
                call()
        trainer = quiet_trainer(tmp_path)
        for run in (partial(trainer.fit, val_dataloaders=Batches((x, labels))), trainer.validate):
            with pytest.raises(ValueError, match="labels must lie in"):
                run(model, Batches((x, labels)))

    def test_of_another_form(self, images: Tensor) -> None:
        model = tiny(ConditionalVAE)
        for c in (torch.zeros(16), torch.zeros(16, 3, dtype=torch.long), torch.zeros(5, dtype=torch.long)):
            with pytest.raises(ValueError, match=r"labels must be integers of shape \(16,\), got"):
                model.losses(images, c)


class TestSample:
    def test_cycles_through_the_classes(self) -> None:
        model = tiny(ConditionalVAE)
        torch.manual_seed(1)
        cycled = model.sample(7)
        torch.manual_seed(1)
        assert torch.equal(cycled, model.sample(7, torch.tensor([0, 1, 2, 0, 1, 2, 0])))
        assert model.sample(0).shape == (0, 1, 8, 8)

    def test_one_label_each(self) -> None:
        with pytest.raises(ValueError, match=r"of shape \(3,\), got torch.int64 of shape \(2,\)"):
            tiny(ConditionalVAE).sample(3, torch.tensor([0, 1]))

    def test_a_class_a_column(self) -> None:
        images, columns = drawing.samples(tiny(ConditionalVAE), 9, torch.zeros(4, dtype=torch.long))
        assert (len(images), columns) == (9, 3)
        assert drawing.samples(tiny(VAE), 9)[1] == 3

    @pytest.mark.exhaustive
    @pytest.mark.slow
    def test_has_the_class_that_was_asked_for(self, tmp_path: Path) -> None:
        from sklearn.neighbors import KNeighborsClassifier

        data, network = Digits(batch_size=64), partial(Dense, hidden=[128])
        likelihood = partial(FixedNormal, scale=0.2)
        model = ConditionalVAE(
            shape=data.shape,
            num_classes=10,
            latent_dim=8,
            encoder=network,
            decoder=network,
            likelihood=likelihood,
            optimizer=partial(torch.optim.Adam, lr=3e-3),
        )
        quiet_trainer(tmp_path, max_epochs=40, limit_val_batches=0).fit(model, data)
        split = data.load("train")
        judge = KNeighborsClassifier(3).fit(split.x.flatten(1).numpy() / 255, split.y)
        c = torch.arange(10).repeat(20)
        assert judge.score(model.sample(200, c).flatten(1).numpy(), c) > 0.8


def test_callbacks_pass_labels_on(tmp_path: Path) -> None:
    model, data = tiny(ConditionalVAE), tiny_data()
    grids = [cls(every_n_epochs=1) for cls in (SampleGrid, ReconstructionGrid, TraversalGrid)]
    trainer = quiet_trainer(tmp_path, callbacks=[*grids, Evidence(num_samples=3), PredictionWriter()])
    trainer.fit(model, data)
    (values,) = trainer.test(model, data, verbose=False)
    assert values["test/log_evidence"] > values["test/elbo"] - 1
    trainer.predict(model, data, return_predictions=False)
    names = {path.name.split("_")[0].removesuffix(".png") for path in tmp_path.rglob("*.png")}
    assert names >= {"samples", "reconstructions", "traversals"}
