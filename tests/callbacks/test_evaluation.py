from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Batches, quiet_trainer, tiny, tiny_data
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from vae_zoo.callbacks import Anomaly, Clusters, Disentanglement, Evidence, Fidelity, Probes, Reconstructions, Report
from vae_zoo.data import Digits, FreyFaces
from vae_zoo.distributions import FixedNormal
from vae_zoo.metrics import MIG, ClusterAccuracy, ClusterARI, ClusterNMI, DataClassifier, KNNProbe, LinearProbe
from vae_zoo.models import AE, VAE, VaDE


def metrics(folder: Path, callback: Any, model: Any, data: Any) -> dict[str, float]:
    (values,) = quiet_trainer(folder, callbacks=[callback]).test(model, data, verbose=False)
    return {name.removeprefix("test/"): value for name, value in values.items()}


def tree() -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier()


quick = partial(DataClassifier, num_steps=30, num_features=8)


class TestDisentanglement:
    def test_is_of_the_test_latents(self, tmp_path: Path) -> None:
        model, data = tiny(VAE), tiny_data(num_examples=480, eval_batch_size=25)
        callback = Disentanglement(estimator=tree, num_votes=20)
        values = metrics(tmp_path, callback, model, data)
        assert callback.units.keys() <= values.keys()
        test = data.load("test")
        metric = MIG()
        metric.update(model.embed(data.examples("test")), test.factors)
        assert values["mig"] == pytest.approx(metric.compute().item(), rel=1e-5)
        assert values["mig"] != values["sampled_mig"]

    def test_a_model_without_a_posterior(self, tmp_path: Path) -> None:
        callback = Disentanglement(estimator=tree, num_votes=20)
        values = metrics(tmp_path, callback, tiny(AE), tiny_data(num_examples=480, eval_batch_size=60))
        assert "mig" in values
        assert "sampled_mig" not in values

    def test_of_the_validations_of_a_fit(self, tmp_path: Path) -> None:
        model, data = tiny(VAE), tiny_data(num_examples=480, eval_batch_size=25)
        best = ModelCheckpoint(tmp_path, monitor="val/mig", mode="max", save_top_k=1)
        callback = Disentanglement(estimator=tree, num_votes=20, val_every_n_epochs=1)
        trainer = quiet_trainer(tmp_path, callbacks=[callback, best], max_epochs=2, enable_checkpointing=True)
        trainer.fit(model, data)
        metric = MIG()
        metric.update(model.embed(data.examples("val")), data.load("val").factors)
        assert trainer.callback_metrics["val/mig"].item() == pytest.approx(metric.compute().item(), rel=1e-5)
        assert best.best_model_score is not None

    def test_only_of_the_validations_that_are_asked_for(self, tmp_path: Path) -> None:
        for every, logged in ((0, False), (2, False), (1, True)):
            trainer = quiet_trainer(tmp_path, callbacks=[Disentanglement(val_every_n_epochs=every)], max_epochs=1)
            trainer.fit(tiny(VAE), tiny_data(num_examples=64))
            assert ("val/mig" in trainer.callback_metrics) == logged

    def test_a_fit_needs_factors(self, tmp_path: Path) -> None:
        trainer = quiet_trainer(tmp_path, callbacks=[Disentanglement(val_every_n_epochs=1)])
        with pytest.raises(ValueError, match="needs data with known factors, such as Sprites: Digits has none"):
            trainer.fit(tiny(VAE), Digits())


class Halves(nn.Module):
    """The means of the upper and the lower half of an image."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).unflatten(1, (2, -1)).mean(2)


class TestFidelity:
    def test_metrics_are_named_after_the_extractor(self, tmp_path: Path) -> None:
        callback, model, data = Fidelity(extractor=quick, num_samples=30), tiny(VAE), tiny_data(num_examples=160)
        values = metrics(tmp_path, callback, model, data)
        assert values == metrics(tmp_path, callback, model, data)  # forgets the first test, and draws the same
        label = "[classifier of Sprites]"
        names = ("fid", "kid", "kid_std", "precision", "recall", "density", "coverage", "accuracy")
        assert {f"{name}{label}" for name in names} <= values.keys()
        assert not {"fid", "kid", "precision"} & values.keys()

    def test_a_model_that_samples_the_data_is_nearer(self, tmp_path: Path) -> None:
        data = tiny_data(num_examples=400, eval_batch_size=25)
        model, perfect = tiny(VAE), tiny(VAE)
        images = data.examples("train")
        perfect.sample = lambda num, c, mean: images[torch.randint(len(images), (num,))]  # type: ignore[method-assign]
        near, far = (metrics(tmp_path, Fidelity(extractor=Halves), m, data) for m in (perfect, model))
        assert near["fid[Halves]"] < 0.1 * far["fid[Halves]"]
        assert near["recall[Halves]"] > far["recall[Halves]"]
        assert near["coverage[Halves]"] > 0.8


class TestReconstructions:
    def test_closed_form(self, tmp_path: Path) -> None:
        model, data = tiny(VAE, likelihood=FixedNormal), tiny_data()
        x = data.examples("test")
        values = metrics(tmp_path, Reconstructions(), model, data)
        error = (model.reconstruct(x).clamp(0, 1) - x).square().flatten(1).mean(1)
        assert values["psnr"] == pytest.approx((-10 * error.log10()).mean().item(), rel=1e-5)
        assert -1 <= values["ssim"] < 1


class TestProbes:
    def test_accuracy_of_the_latents(self, tmp_path: Path) -> None:
        model, data = tiny(AE), tiny_data(num_examples=160)
        values = metrics(tmp_path, Probes(), model, data)
        for name, metric in (("linear_probe", LinearProbe()), ("knn_probe", KNNProbe())):
            for split in ("train", "test"):
                metric.update(model.embed(data.examples(split)), data.load(split).y, train=split == "train")
            assert values[name] == pytest.approx(metric.compute().item(), abs=1e-6)
        callback = Probes()
        assert metrics(tmp_path, callback, model, data) == metrics(tmp_path, callback, model, data)


class TestClusters:
    def test_of_a_model_with_clusters(self, tmp_path: Path) -> None:
        model, data = tiny(VaDE, num_clusters=3).eval(), tiny_data(num_examples=160)
        callback = Clusters()
        metrics(tmp_path, callback, tiny(AE), data)  # another model before, for which a mixture is fitted
        values = metrics(tmp_path, callback, model, data)
        x, y = data.examples("test"), data.load("test").y
        assert y is not None
        found = model.clusters(x).argmax(1)
        for name, metric in {"accuracy": ClusterAccuracy(), "nmi": ClusterNMI(), "ari": ClusterARI()}.items():
            metric.update(found, y)
            assert values[f"cluster_{name}"] == pytest.approx(metric.compute().item(), abs=1e-6)

    def test_of_others_is_that_of_a_mixture_of_training_latents(self, tmp_path: Path) -> None:
        """Of latents that are the class and some noise, every cluster is a class."""
        model, data = tiny(AE), tiny_data(num_examples=160)
        kinds = int(data.num_classes or 0)

        def embed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(len(x)))
            return 10 * torch.nn.functional.one_hot(y, kinds)[:, :4] + noise[:, :kinds]

        model.embed = embed
        values = metrics(tmp_path, Clusters(num_clusters=kinds), model, data)
        assert values["cluster_accuracy"] == 1
        assert values["cluster_nmi"] == pytest.approx(1, abs=1e-6)
        assert metrics(tmp_path, Clusters(num_clusters=1), model, data)["cluster_ari"] == pytest.approx(0, abs=1e-6)


class TestAnomaly:
    def test_other_data(self, tmp_path: Path) -> None:
        """Images of one grey level are less likely under p(x|z) = N(1/2, σ²) the further they are from it."""
        data, other = tiny_data(), Digits()
        model = tiny(VAE, likelihood=FixedNormal)
        with torch.no_grad():
            for p in model.decoder.parameters():
                p.zero_()
        values = metrics(tmp_path, Anomaly(data=other, num_samples=2), model, data)
        score = [x.square().flatten(1).sum(1) for x in (data.examples("test"), other.examples("test"))]
        chance = (score[1][:, None] > score[0]).float().mean() + 0.5 * (score[1][:, None] == score[0]).float().mean()
        assert values["anomaly_auroc[reconstruction]"] == pytest.approx(chance.item(), abs=1e-5)
        assert {"anomaly_auroc[elbo]", "anomaly_auroc[log_evidence]"} <= values.keys()

    def test_other_classes(self, tmp_path: Path) -> None:
        data = tiny_data(num_examples=160)
        one = metrics(tmp_path, Anomaly(normal_classes=[0], num_samples=2), tiny(AE), data)
        rest = metrics(tmp_path, Anomaly(normal_classes=[1, 2], num_samples=2), tiny(AE), data)
        assert "anomaly_auroc[elbo]" not in one
        assert 0 <= one["anomaly_auroc[reconstruction]"] <= 1
        assert one != rest


class Plain(FreyFaces):
    def dataset(self, split: Any) -> Any:
        return tiny_data().load(split)._replace(y=None, factors=None)

    shape, num_train = (1, 8, 8), 48


class Several(Plain):
    """Images with two labels each."""

    def dataset(self, split: Any) -> Any:
        split = super().dataset(split)
        return split._replace(y=torch.ones(len(split.x), 2).long())


@pytest.mark.parametrize(
    ("callback", "data", "message"),
    [
        (
            Disentanglement(),
            Digits(),
            "Disentanglement needs data with known factors, such as Sprites: Digits has none",
        ),
        (Probes(), Plain(), "Probes needs data with labels: Plain has none"),
        (Clusters(), Plain(), "Clusters needs data with labels: Plain has none"),
        (Fidelity(), Plain(), "DataClassifier needs data with labels: choose another extractor"),
        (Anomaly(normal_classes=[1]), Plain(), "Anomaly needs data with labels: Plain has none"),
        (Probes(), Several(), "Probes needs classes: Several has several values of each example"),
        (Fidelity(), Several(), "DataClassifier needs data with one label for each example, and these have several"),
        (Anomaly(normal_classes=[1]), Several(), "Anomaly needs classes: Several has several values of each example"),
        (
            Anomaly(data=tiny_data(image_size=9)),
            Digits(),
            r"must have the shape \(1, 8, 8\) of the data, got \(1, 9, 9\)",
        ),
        (Probes(), Batches(torch.rand(4, 1, 8, 8)), "Probes needs a data module of vae_zoo, got NoneType"),
    ],
)
def test_data_that_lack_what_is_needed(tmp_path: Path, callback: Any, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics(tmp_path, callback, tiny(VAE), data)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Fidelity needs a model with a prior to sample from: AE has none"):
        metrics(tmp_path, Fidelity(), tiny(AE), tiny_data())
    for kwargs in ({}, {"normal_classes": []}, {"normal_classes": [1], "data": tiny_data()}):
        with pytest.raises(ValueError, match="Anomaly needs either normal_classes, a list of labels, or data"):
            Anomaly(**kwargs)
    for make in (partial(Anomaly, normal_classes=[1], num_samples=0), partial(Fidelity, num_samples=0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            make()
    for make in (partial(Fidelity, nearest=0), partial(Probes, num_train=0), partial(Probes, neighbours=0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            make()
    with pytest.raises(ValueError, match="num_votes must be at least 2, got 1"):
        Disentanglement(num_votes=1)
    with pytest.raises(ValueError, match="val_every_n_epochs must be at least 0"):
        Disentanglement(val_every_n_epochs=-1)


def test_every_metric_has_its_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callbacks = [
        Evidence(num_samples=2),
        Disentanglement(estimator=tree, num_votes=20),
        Fidelity(extractor=Halves),
        Reconstructions(),
        Probes(),
        Anomaly(normal_classes=[0], num_samples=2),
        Report(),
    ]
    trainer = quiet_trainer(tmp_path, callbacks=callbacks)
    trainer.test(tiny(VAE), tiny_data(num_examples=480, eval_batch_size=60), verbose=False)
    rows = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert len(rows) >= 26
    assert all(row[-1].strip() for row in rows), rows
    assert not any("nats" in row[-1] for row in rows if row[0].startswith(("mig", "psnr", "fid", "knn")))
