from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import fit, quiet_trainer, same_weights, takes

from vae_zoo import hub
from vae_zoo.data import Counts
from vae_zoo.distributions import CellCounts, ZeroInflatedNegativeBinomial
from vae_zoo.models import VAE, ConditionalVAE, CountVAE
from vae_zoo.nn import CountDecoder, LogDense


def test_is_the_vae_with_the_components_of_the_field() -> None:
    torch.manual_seed(0)
    own = CountVAE(shape=(30,))
    torch.manual_seed(0)
    other = VAE(shape=(30,), latent_dim=10, encoder=LogDense, decoder=CountDecoder, likelihood=CellCounts)
    assert same_weights(own, other)
    assert isinstance(own.likelihood, ZeroInflatedNegativeBinomial)
    assert own.likelihood.library
    assert [p.shape[0] for name, p in own.encoder.named_parameters() if "weight" in name] == [128, 20]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_latents_tell_types_apart_and_not_totals(tmp_path: Path) -> None:
    """Eight epochs on the drawn cells: nearest neighbours are of one type, and generated cells have their totals."""
    data = Counts(batch_size=64)
    torch.manual_seed(1)
    model = CountVAE(shape=data.shape)
    quiet_trainer(tmp_path, max_epochs=8, limit_val_batches=0).fit(model, data)
    model.eval()
    x, y = data.load("test").x, data.load("test").y
    with torch.no_grad():
        z = model.embed(x)
        bound = model.elbo(x, num_samples=20).value.mean()
        none = model.likelihood(torch.zeros(len(x), *model.likelihood.param_shape)).log_prob(x).mean()
    nearest = (torch.cdist(z, z) + 1e9 * torch.eye(len(z))).argmin(1)
    assert (y[nearest] == y).float().mean() > 0.85
    assert bound > none + 50
    drawn = model.sample(500, mean=False)
    totals = data.load("train").x.sum(1)
    assert torch.equal(drawn, drawn.round())
    assert 0.8 < drawn.sum(1).log().std() / totals.log().std() < 1.2
    assert 0.8 < drawn.sum(1).mean() / totals.mean() < 1.2


def test_a_sparse_split_changes_nothing(tmp_path: Path) -> None:
    kwargs = {"shape": (200,), "latent_dim": 10}
    models = [
        fit(tmp_path, CountVAE, data=Counts(in_memory_limit=limit), kwargs=kwargs, max_epochs=1)[0] for limit in (1, 0)
    ]
    assert same_weights(*models)


def test_a_batch_of_cells_is_a_condition(tmp_path: Path) -> None:
    class Both(CountVAE, ConditionalVAE):
        pass

    assert takes(Both, "num_classes")
    model = Both(shape=(200,), num_classes=6)
    quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=2, limit_val_batches=1).fit(model, Counts())
    x, c = torch.poisson(torch.rand(3, 200) * 4), torch.tensor([0, 1, 5])
    assert model.embed(x, c).shape == (3, 10)
    torch.testing.assert_close(model.reconstruct(x, c).sum(1) <= x.sum(1), torch.ones(3, dtype=torch.bool))


def test_the_totals_are_in_the_checkpoint(tmp_path: Path) -> None:
    model, trainer = fit(tmp_path, CountVAE, data=Counts(), kwargs={"shape": (200,)}, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = hub.load(tmp_path / "a.ckpt")
    logs = Counts().load("train").x.sum(1).log()
    assert torch.equal(again.likelihood.total_location, model.likelihood.total_location)
    torch.testing.assert_close(again.likelihood.total_location, logs.mean())
    torch.testing.assert_close(again.likelihood.total_spread, logs.std(correction=0))
