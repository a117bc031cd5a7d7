"""The conditional VAE: how labels enter, what is refused, and whether samples have the chosen class."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Batches, build, linear, losses, quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import Evidence, PredictionWriter, ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.pictures import drawing
from vae_zoo.data import Digits
from vae_zoo.distributions import ConditionalNormal, FixedNormal
from vae_zoo.evaluation.sampling import generate
from vae_zoo.hub import save_pretrained
from vae_zoo.models import MLPVAE, VAE, ConditionalVAE, ConvVAE
from vae_zoo.nn import ConvDecoder, ConvEncoder, Dense, GatedDense


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


@pytest.mark.parametrize("network", [Dense, GatedDense])
def test_an_encoder_of_vectors_sees_one_entry_a_class(network: type) -> None:
    """As constant channels, the entries of a class have as many weights as there are pixels, and Adam moves each."""
    model = tiny(ConditionalVAE, encoder=partial(network, hidden=[16]))
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = torch.rand(2, 1, 8, 8)
    means = model.encode(x, torch.tensor([2, 0])).mean
    assert torch.equal(seen[0], torch.cat([x.flatten(1), torch.tensor([[0.0, 0, 1], [1, 0, 0]])], 1))
    older = model.state_dict()  # of files in which classes were constant channels
    wide = [name for name, weight in older.items() if name.startswith("encoder.") and weight.shape[1:] == (67,)]
    assert len(wide) == (1 if network is Dense else 2)
    for name in wide:
        pixels, classes = older[name].split([64, 3], 1)
        shares = torch.rand(3, 64).softmax(1)
        older[name] = torch.cat([pixels, (classes[..., None] * shares).flatten(1)], 1)
    again = tiny(ConditionalVAE, encoder=partial(network, hidden=[16]))
    again.load_state_dict(older)
    torch.testing.assert_close(again.encode(x, torch.tensor([2, 0])).mean, means)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
def test_a_fit_goes_on_from_a_file_with_classes_as_channels(tmp_path: Path) -> None:
    older = Path(__file__).parent / "older" / "ConditionalVAE.ckpt"
    saved = torch.load(older, weights_only=True)
    model = ConditionalVAE.load_from_checkpoint(older)
    trainer = quiet_trainer(tmp_path, max_epochs=saved["epoch"] + 2)
    data = Digits()
    trainer.fit(model, data, ckpt_path=older)
    assert trainer.global_step > saved["global_step"]
    moments = trainer.optimizers[0].state[model.encoder.layers[1].weight]
    assert moments["exp_avg"].shape == moments["exp_avg_sq"].shape == (4, 74)


@pytest.mark.exhaustive
def test_a_class_helps(tmp_path: Path) -> None:
    """With constant channels in place of single entries, the bound is lower than without the class."""
    bounds = []
    for cls, given in ((MLPVAE, {}), (ConditionalVAE, {"num_classes": 10})):
        torch.manual_seed(0)
        network = partial(Dense, hidden=[128])
        parts = {"encoder": network, "decoder": network, "likelihood": partial(FixedNormal, scale=0.2)}
        model, data = cls(shape=(1, 8, 8), latent_dim=8, **parts, **given), Digits()
        trainer = quiet_trainer(tmp_path, max_epochs=10)
        trainer.fit(model, data)
        bounds += [metrics["val/elbo"] for metrics in trainer.validate(model, data, verbose=False)]
    assert bounds[1] > bounds[0] + 2


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
                ValueError, match="ConditionalVAE needs the labels of the examples, c of shape"
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


@pytest.mark.exhaustive
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


class TestSeveralValues:
    """Conditions of a class of three, a number and a binary attribute."""

    SIZES = (3, 1, 1)
    C = torch.tensor([[0.0, 0.5, 1.0], [2.0, -1.5, 0.0], [1.0, 0.0, 1.0]])

    def model(self, **kwargs: Any) -> ConditionalVAE:
        return tiny(ConditionalVAE, num_classes=None, condition_sizes=self.SIZES, **kwargs)

    def test_networks_see_all_of_them(self) -> None:
        model = self.model(encoder=ConvEncoder)
        seen: list[Tensor] = []
        model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        model.encode(torch.rand(3, 1, 8, 8), self.C)
        rows = torch.tensor([[1, 0, 0, 0.5, 1], [0, 0, 1, -1.5, 0], [0, 1, 0, 0, 1]])
        assert torch.equal(seen[0][:, 1:].mean((-2, -1)), rows)
        assert torch.equal(model.entries(self.C, 3), rows)

    def test_numbers_alone_may_be_integers(self) -> None:
        model = tiny(ConditionalVAE, num_classes=None, condition_sizes=[1, 1])
        assert torch.equal(model.entries(torch.tensor([[0, 1]]), 1), torch.tensor([[0.0, 1.0]]))

    def test_one_class_of_several_is_the_same_model(self, images: Tensor) -> None:
        plain = tiny(ConditionalVAE)
        model = tiny(ConditionalVAE, num_classes=None, condition_sizes=[3])
        model.load_state_dict({k: v for k, v in plain.state_dict().items() if k != "class_shares"})
        c = torch.arange(len(images)) % 3
        torch.manual_seed(0)
        expected = plain.losses(images, c)["loss"]
        torch.manual_seed(0)
        assert torch.equal(model.losses(images, c[:, None].float())["loss"], expected)

    def test_a_prior_of_them(self, images: Tensor) -> None:
        model = self.model(prior=partial(ConditionalNormal, num_classes=5))
        c = self.C.repeat(6, 1)[: len(images)]
        model.losses(images, c)["loss"].backward()
        assert model.sample(3, self.C).shape == (3, 1, 8, 8)
        assert not torch.equal(model.prior(self.C).mean[0], model.prior(self.C).mean[1])

    @pytest.mark.parametrize(
        ("c", "said"),
        [
            (None, r"needs the conditions of the examples, c of shape \(3, 3\), got none"),
            (C[:, :2], r"conditions must be of shape \(3, 3\), got torch.float32 of shape \(3, 2\)"),
            (torch.arange(3), r"conditions must be of shape \(3, 3\), got torch.int64 of shape \(3,\)"),
            (C + torch.tensor([1.0, 0, 0]), r"column 0 of the conditions must lie in 0 \.\. 2, got 1 to 3"),
            (C + torch.tensor([0.5, 0, 0]) * (C < 2), "column 0 of the conditions must hold whole numbers"),
            (C * torch.tensor([1.0, math.inf, 1]), "column 1 of the conditions must be finite"),
        ],
    )
    def test_refuses(self, c: Tensor | None, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            self.model().embed(torch.rand(3, 1, 8, 8), c)

    @pytest.mark.parametrize("sizes", [[], [3, 0]])
    def test_bad_sizes(self, sizes: list[int]) -> None:
        with pytest.raises(ValueError, match="condition_sizes must hold sizes of at least 1, got"):
            tiny(ConditionalVAE, num_classes=None, condition_sizes=sizes)

    def test_has_no_classes_to_draw(self) -> None:
        for call in (partial(generate, self.model(), 3), partial(self.model().draw_classes, 3)):
            with pytest.raises(ValueError, match=r"call model.sample\(num, c\)|no classes to draw: pass c"):
                call()
        with pytest.raises(ValueError, match=r"needs the conditions of the examples, c"):
            self.model().sample(3)

    @pytest.mark.exhaustive
    def test_factors_of_sprites(self, tmp_path: Path) -> None:
        data = tiny_data(all_factors=True)
        assert (data.num_classes, data.condition_sizes) == (None, (3, 1, 1, 1, 1))
        y = data.load("train").y
        assert y is not None
        assert (y.shape, y.min(), y[:, 1:].max() <= 1) == ((48, 5), 0, True)
        grids = [cls(every_n_epochs=1) for cls in (SampleGrid, ReconstructionGrid, TraversalGrid)]
        trainer = quiet_trainer(tmp_path, callbacks=[*grids, Evidence(num_samples=3), PredictionWriter()])
        model = tiny(ConditionalVAE, num_classes=None, condition_sizes=data.condition_sizes)
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
        trainer.predict(model, data, return_predictions=False)
        trainer.save_checkpoint(tmp_path / "it.ckpt")
        again = ConditionalVAE.load_from_checkpoint(tmp_path / "it.ckpt")
        assert again.condition_sizes == (3, 1, 1, 1, 1)
        save_pretrained(again, tmp_path / "shared")
        assert not (tmp_path / "shared" / "samples.png").exists()


class TestShares:
    @pytest.mark.exhaustive
    def test_those_of_the_data(self, tmp_path: Path) -> None:
        model, data = tiny(ConditionalVAE), tiny_data()
        assert torch.equal(model.class_shares, torch.full((3,), 1 / 3))
        trainer = quiet_trainer(tmp_path)
        trainer.fit(model, data)
        y = data.load("train").y
        assert y is not None
        torch.testing.assert_close(model.class_shares, torch.bincount(y) / 48)
        trainer.save_checkpoint(tmp_path / "it.ckpt")
        again = ConditionalVAE.load_from_checkpoint(tmp_path / "it.ckpt")
        assert torch.equal(again.class_shares, model.class_shares)

    def test_what_is_drawn(self) -> None:
        model = tiny(ConditionalVAE)
        model.class_shares.copy_(torch.tensor([0.7, 0.0, 0.3]))
        _, c = generate(model, 3000, shares=True)
        assert c is not None
        torch.testing.assert_close(torch.bincount(c, minlength=3) / 3000, model.class_shares, rtol=0, atol=0.03)
        assert torch.equal(c, generate(model, 3000, shares=True)[1])  # type: ignore[arg-type]
        assert model.sample(4, shares=True).shape == (4, 1, 8, 8)
        assert model.sample(0, shares=True).shape == (0, 1, 8, 8)

    def test_refuses(self) -> None:
        with pytest.raises(ValueError, match="shares draws the classes: leave out either c or shares"):
            tiny(ConditionalVAE).sample(2, torch.tensor([0, 1]), shares=True)
        with pytest.raises(ValueError, match="class 1 and shares exclude each other"):
            generate(tiny(ConditionalVAE), 2, label=1, shares=True)
        with pytest.raises(ValueError, match="VAE keeps no shares of classes"):
            generate(tiny(VAE), 2, shares=True)

    def test_an_older_file_has_equal_ones(self) -> None:
        model = tiny(ConditionalVAE)
        older = {k: v for k, v in model.state_dict().items() if k != "class_shares"}
        assert not tiny(ConditionalVAE).load_state_dict(older).missing_keys
