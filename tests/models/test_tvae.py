"""TVAE on a real table: its loss is a bound, and it learns how the columns depend on each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vae_zoo.data import BreastCancer
from vae_zoo.models import TVAE
from vae_zoo.testing.subject import quiet_trainer

pytest.importorskip("pandas")


def cancers() -> tuple[BreastCancer, Any]:
    data = BreastCancer(scaling="log1p", batch_size=64)
    torch.manual_seed(0)
    settings = {"shape": data.shape, "latent_dim": 8, "scaling": data.scaling, "missing": data.missing}
    return data, TVAE(likelihood=data.likelihood, **settings)


def test_the_loss_is_the_bound_and_counts_the_reconstruction_once() -> None:
    data, model = cancers()
    x = data.load("train").x[:32]
    torch.manual_seed(1)
    found = model.losses(x)
    torch.testing.assert_close(found["loss"], -found["elbo"])
    torch.testing.assert_close(found["loss"], found["kl"] - found["reconstruction"])
    model.eval()
    torch.manual_seed(1)
    bound, evidence = model.elbo(x, num_samples=500), model.evidence(x, num_samples=2000)
    assert (bound.value.mean() < evidence.value.mean() + 2 * evidence.error.mean()).all()


def test_networks_have_the_sizes_of_the_paper() -> None:
    model = TVAE(shape=(5,))
    widths = [m.out_features for m in model.encoder.modules() if isinstance(m, torch.nn.Linear)]
    assert widths == [128, 128, 256]
    assert model.latent_dim == 128


@pytest.mark.exhaustive
def test_a_short_fit_beats_independent_columns_on_held_out_rows(tmp_path: Path) -> None:
    data, model = cancers()
    model.lr = 3e-3
    quiet_trainer(tmp_path, max_epochs=40).fit(model, data)
    model.eval()
    x, train = data.load("test").x, data.load("train").x
    scaling = model.likelihood.scaling
    y, known = scaling(x)[:, :30], scaling(train)[:, :30]
    simple = torch.distributions.Normal(known.mean(0), known.std(0)).log_prob(y).sum(1)
    simple = (simple + scaling.log_slope(x)[:, :30].sum(1)).mean()  # and the diagnosis, at most 0 nats, besides
    torch.manual_seed(0)
    assert model.elbo(x, num_samples=50).value.mean() > simple + 5
    torch.manual_seed(0)
    drawn = model.sample(1000, mean=False)
    model.likelihood.check(drawn)
    malignant = next(c["categories"] for c in data.columns if c["name"] == "diagnosis").index("malignant")
    areas = scaling(drawn)[:, [c["name"] for c in data.columns].index("mean_area")]
    ill = drawn[:, -1] == malignant
    assert areas[ill].mean() - areas[~ill].mean() > 0.8, "malignant tumours are larger"
