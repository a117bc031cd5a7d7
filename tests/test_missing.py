"""Missing values: no term in the likelihood, and known to the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import FAMILIES, MODELS, LinearGaussian, build, labels, load_arrays, losses, saved, small, tiny
from short import few
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.data import Arrays
from vae_zoo.distributions import OptimalNormal, SharedNormal
from vae_zoo.distributions.likelihoods.observed import Observed, per_entry
from vae_zoo.elbo import ELBOMixin
from vae_zoo.evaluation.scores import column_scores
from vae_zoo.models import DFCVAE, IWAE, VAE, VAEGAN, ConvVAE, VampVAE
from vae_zoo.models.tokenizers.judged import Judged
from vae_zoo.testing.subject import quiet_trainer

NAN = float("nan")


class IncompleteGaussian(LinearGaussian):
    """The linear-Gaussian model with the exact posterior given the observed values, unless widened."""

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        weight, bias = self.decoder.layers[1].weight, self.decoder.layers[1].bias
        seen = (~x.isnan()).to(x.dtype)
        precision = torch.einsum("bi,ij,ik->bjk", seen, weight, weight) / self.scale**2
        covariance = torch.linalg.inv(precision + torch.eye(self.latent_dim, dtype=weight.dtype))
        error = torch.where(x.isnan(), 0.0, x - bias)
        loc = torch.einsum("bi,ij,bjk->bk", error, weight, covariance) / self.scale**2 + self.shift
        tril = self.widen * torch.linalg.cholesky(covariance)
        return MultivariateNormal(loc, scale_tril=tril, validate_args=False)


def oracle(widen: float = 1.0, shift: float = 0.0) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    model = IncompleteGaussian(shape=(5,), latent_dim=2, missing=True, widen=widen, shift=shift)
    x = torch.randn(8, 5, dtype=torch.double)
    x[torch.rand(x.shape) < 0.4] = NAN
    x[0] = NAN  # a row without any value: its evidence is 1
    x[1] = torch.arange(5.0)
    return model, x


def marginals(model: Any, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-density of the observed values of an example, and mean and covariance of the others given them."""
    weight, bias = model.decoder.layers[1].weight.detach(), model.decoder.layers[1].bias.detach()
    covariance = weight @ weight.T + model.scale**2 * torch.eye(len(bias), dtype=weight.dtype)
    seen = ~row.isnan()
    inner = covariance[seen][:, seen]
    log_p = MultivariateNormal(bias[seen], inner).log_prob(row[seen]) if seen.any() else torch.zeros(()).double()
    gain = covariance[~seen][:, seen] @ torch.linalg.inv(inner)
    mean = bias[~seen] + gain @ (row - bias)[seen]
    return log_p, mean, covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]


def test_the_bound_of_observed_values_is_the_evidence_of_the_marginal_model() -> None:
    model, x = oracle()
    exact = torch.stack([marginals(model, row)[0] for row in x])
    torch.testing.assert_close(model.elbo(x, num_samples=4).log_w.mean(0), exact)
    torch.testing.assert_close(model.log_evidence(x, num_samples=3), exact)


def test_evidence_by_importance_is_that_of_the_marginal_model() -> None:
    model, x = oracle(widen=1.3)
    exact = torch.stack([marginals(model, row)[0] for row in x])
    found = model.evidence(x, num_samples=20000)
    assert ((found.value - exact).abs() < 4 * found.error + 1e-3).all()
    assert (model.elbo(x, num_samples=2000).value < exact - 0.05).all()


def test_imputed_means_are_the_conditional_means() -> None:
    model, x = oracle(widen=1.3, shift=0.3)
    filled = model.impute(x, num_samples=40000)
    for row, whole in zip(x, filled, strict=True):
        missing = row.isnan()
        torch.testing.assert_close(whole[missing], marginals(model, row)[1], atol=0.05, rtol=0)
        assert torch.equal(whole[~missing], row[~missing])


def test_imputed_draws_have_the_conditional_mean_and_covariance() -> None:
    model, _ = oracle(widen=1.5)
    row = torch.tensor([0.5, NAN, -1.0, NAN, 2.0], dtype=torch.double)
    draws = model.impute(row.expand(8000, 5), num_samples=64, mean=False)[:, row.isnan()]
    _, mean, covariance = marginals(model, row)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(draws.T.cov(), covariance, atol=0.12, rtol=0)


def test_scores_of_single_values_are_their_conditional_densities() -> None:
    model, x = oracle(widen=1.2)
    found = column_scores(model, x, num_samples=40000)
    assert torch.equal(found.isnan(), x.isnan())
    for row, scores in zip(x, found, strict=True):
        whole = marginals(model, row)[0]
        for place in (~row.isnan()).nonzero().flatten():
            others = row.clone()
            others[place] = NAN
            torch.testing.assert_close(scores[place], whole - marginals(model, others)[0], atol=0.1, rtol=0.05)


def test_imputation_in_chunks_is_a_mean_over_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = oracle(widen=1.3)
    monkeypatch.setattr("vae_zoo.elbo.imputation._VALUES", 40 * 100)
    chunked = model.impute(x, num_samples=30000)
    row = torch.cat([marginals(model, r)[1] for r in x])
    torch.testing.assert_close(chunked[x.isnan()], row, atol=0.06, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_likelihood_leaves_missing_values_out_or_refuses_them(family: Any) -> None:
    shape = (1, 8, 8)
    try:
        likelihood = family(shape)
    except TypeError:  # one that needs more than a shape
        return
    if not (likelihood.is_density and per_entry(likelihood.at_zeros(), shape)):
        with pytest.raises(ValueError, match="scores an example as a whole"):
            likelihood.observe()
        return
    likelihood.observe()
    torch.manual_seed(0)
    params = torch.randn(3, *likelihood.param_shape, requires_grad=True)
    x = torch.rand(3, *shape)
    x = x.round() if likelihood.is_discrete else 0.1 + 0.8 * x
    x[:, :, :2] = NAN
    x[0] = NAN
    if not isinstance(likelihood, OptimalNormal):
        likelihood.check(x)
    px = likelihood(params)
    assert isinstance(px, Observed)
    log_px = px.log_prob(x)
    entries = px.complete.base_dist.log_prob(torch.where(x.isnan(), likelihood._filler, x))
    if not isinstance(likelihood, OptimalNormal):
        torch.testing.assert_close(log_px[1:], entries[1:, :, 2:].flatten(1).sum(1))
    assert log_px[0] == 0
    log_px.sum().backward()
    assert params.grad is not None
    assert params.grad.isfinite().all()
    assert not params.grad.isnan().any()
    with pytest.raises(ValueError, match="finite"):
        likelihood.check(torch.full((1, *shape), float("inf")))


def test_the_optimal_scale_is_that_of_observed_errors() -> None:
    complete, incomplete = OptimalNormal((3,)), OptimalNormal((4,))
    incomplete.observe()
    x, loc = torch.rand(6, 3), torch.rand(6, 3, requires_grad=True)
    wider = torch.cat([loc, torch.full((6, 1), 9.0)], 1)
    expected = complete(loc).log_prob(x)
    found = incomplete(wider).log_prob(torch.cat([x, torch.full((6, 1), NAN)], 1))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(incomplete.square, complete.square)


@pytest.mark.parametrize("cls", MODELS)
def test_every_model_learns_from_incomplete_examples_or_refuses_them(cls: Any) -> None:
    if cls in (DFCVAE, VAEGAN) or issubclass(cls, Judged):
        with pytest.raises(ValueError, match="missing values"):
            tiny(cls, missing=True)
        return
    try:
        model = tiny(cls, missing=True, likelihood=SharedNormal)
    except (TypeError, ValueError):  # a model with a likelihood of its own
        model = tiny(cls, missing=True)
    torch.manual_seed(0)
    x = torch.rand(12, *model.shape).round()
    x[torch.rand(x.shape) < 0.3] = NAN
    model._initialise(x)
    values = losses(model, x)
    values["loss"].backward()
    assert all(value.isfinite().all() for value in values.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    c = labels(cls, x)
    model.eval()
    assert model.reconstruct(x, c).isfinite().all()
    if issubclass(cls, ELBOMixin):
        assert model.impute(x, c, 3).isfinite().all()
        other = x.clone()
        other[0] = x[1]
        assert not torch.equal(model.embed(x, c), model.embed(other, c))


def test_the_encoder_tells_a_missing_value_from_zero() -> None:
    model = tiny(VAE, missing=True)
    x = torch.zeros(1, 1, 8, 8)
    gone = x.clone()
    gone[0, 0, 3, 3] = NAN
    assert model.encoder_shapes[0] == (2, 8, 8)
    assert not torch.equal(model.embed(x), model.embed(gone))


def test_complete_examples_are_read_as_if_nothing_could_be_missing() -> None:
    """Indicators that are 1 for all observed values would move the network as fast as all its inputs together."""
    model, x = tiny(VAE, missing=True), torch.rand(2, 1, 8, 8)
    read = model.read(x)
    assert torch.equal(read, torch.cat([x, torch.zeros_like(x)], 1))
    x[0, 0, 3, 3] = NAN
    assert model.read(x)[0, :, 3, 3].tolist() == [0.0, -1.0]


@pytest.mark.parametrize("cls", [VAE, ConvVAE])
def test_a_model_of_an_older_file_sees_what_it_was_trained_on(cls: Any, tmp_path: Path) -> None:
    model, x = tiny(cls, missing=True), torch.rand(2, 1, 8, 8)
    x[0, 0, 3, 3] = NAN
    older = model.state_dict()
    del older["likelihood.of_observed"]
    model.load_state_dict(older)
    assert torch.equal(model.read(x)[:, 1:], (~x.isnan()).float())
    again = vae_zoo.load(saved(tmp_path, model))
    assert torch.equal(again.embed(x), model.embed(x))


def test_data_without_missing_values_take_the_same_path() -> None:
    model = tiny(VAE)
    x = torch.rand(2, 1, 8, 8)
    assert model.read(x) is x
    assert not isinstance(model.decode(model.embed(x)), Observed)


@pytest.mark.parametrize("cls", few([VAE, IWAE], 1, VAE))
def test_losses_of_incomplete_examples_compile_in_one_graph(cls: Any) -> None:
    torch._dynamo.reset()
    model = tiny(cls, missing=True)
    x = torch.rand(4, 1, 8, 8).round()
    x[0, 0, 0] = NAN
    compiled = torch.compile(type(model).losses, fullgraph=True, backend="eager")
    torch.manual_seed(0)
    expected = model.losses(x)["loss"]
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(model, x)["loss"], expected)


def test_pseudo_inputs_start_from_filled_examples() -> None:
    model = build(VampVAE, encoder=small, decoder=small, missing=True)
    x = torch.rand(8, 1, 8, 8)
    x[:, 0, 0, 0] = NAN
    model._initialise(x)
    assert model.pseudo.isfinite().all()


def incomplete_csv(folder: Path, num: int = 120) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(num, 2)) @ generator.normal(size=(2, 4))
    rows = [",".join("" if generator.random() < 0.2 else f"{v:.3f}" for v in row) for row in x]
    path = folder / "table.csv"
    path.write_text("\n".join(["a,b,c,d", *rows]) + "\n")
    return path


def test_empty_fields_of_a_csv_are_missing_values_if_asked(tmp_path: Path) -> None:
    path = incomplete_csv(tmp_path)
    data = Arrays(path=str(path), missing=True)
    x = data.load("train").x
    assert 0.1 < x.isnan().float().mean() < 0.3
    assert data.likelihood is OptimalNormal
    with pytest.raises(ValueError, match=r"line .* is ''; if it is a missing value, set missing to true"):
        Arrays(path=str(path)).load("train")


def test_missing_values_are_refused_by_default_and_infinite_ones_always(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    x[2, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"first at index \(2, 1\); if NaN is a missing value, set missing to true"):
        Arrays(path=str(tmp_path / "x.npy")).load("train")
    assert Arrays(path=str(tmp_path / "x.npy"), missing=True).load("train") is not None
    x[5, 0] = np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"1 values in .* are not finite, the first at index \(5, 0\)"):
        Arrays(path=str(tmp_path / "x.npy"), missing=True).load("train")


def test_a_column_without_any_value_is_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[:, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match="column 2 has no value in the train split"):
        Arrays(path=str(tmp_path / "x.npy"), missing=True).load("train")


def test_a_model_of_complete_examples_imputes_nothing() -> None:
    with pytest.raises(ValueError, match="made for complete examples"):
        tiny(VAE).impute(torch.rand(2, 1, 8, 8))


@pytest.mark.exhaustive
def test_imputation_beats_the_mean(tmp_path: Path) -> None:
    """On correlated columns, a fitted model predicts missing values better than the mean of their column."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(600, 1, generator=generator) @ torch.tensor([[1.0, -1.0, 2.0, 1.0]])
    whole += 0.1 * torch.randn(whole.shape, generator=generator)
    gone = torch.rand(whole.shape, generator=generator) < 0.25
    np.save(tmp_path / "x.npy", torch.where(gone, NAN, whole).numpy())
    data = Arrays(path=str(tmp_path / "x.npy"), missing=True, batch_size=64)
    torch.manual_seed(0)
    model = VAE(shape=(4,), latent_dim=2, missing=True, likelihood=SharedNormal, encoder=small, decoder=small)
    model.lr = 1e-2
    quiet_trainer(tmp_path, max_epochs=40).fit(model, data)
    model.eval()
    filled = model.impute(torch.where(gone, NAN, whole), num_samples=100)
    error = (filled - whole)[gone].square().mean()
    assert error < 0.3 * whole[gone].square().mean()


@pytest.mark.exhaustive
def test_the_command_fits_predicts_and_reports_incomplete_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = incomplete_csv(tmp_path)
    short = ["--trainer.max_epochs=2", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    main(["fit", "--model=VAE", "--data=Arrays", f"--data.path={path}", "--data.missing=true", *short])
    run = next(tmp_path.glob("results/VAE_Arrays/*"))
    checkpoint = str(next(run.glob("checkpoints/last*.ckpt")))
    main(["predict", f"--ckpt_path={checkpoint}"])
    main(["test", f"--ckpt_path={checkpoint}", "--evidence.num_samples=50"])
    assert "elbo" in capsys.readouterr().out
    files = list(tmp_path.glob("results/VAE_Arrays/**/reconstructions.npz"))
    found = load_arrays(files[0])
    assert np.isnan(found["x"]).any()
    assert np.isfinite(found["reconstruction"]).all()
