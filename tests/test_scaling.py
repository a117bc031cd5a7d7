"""Scaling of vectors: modelled in other units, reported in the original ones."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import LinearGaussian, load_arrays, small, tiny
from torch import Tensor
from torch.distributions import Independent, LogNormal

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.data import Arrays
from vae_zoo.data.base.scaling import fit_scaling
from vae_zoo.distributions import Bernoulli, DiagonalNormal, FixedNormal, OptimalNormal, SharedNormal, StudentT
from vae_zoo.distributions.likelihoods.scaled import Scaling, unscaled
from vae_zoo.models import VAE, DenoisingVAE, VampVAE
from vae_zoo.testing.subject import quiet_trainer

NAN = float("nan")
UNITS = {"shift": [3.0, -1e3, 0.5, 2.0], "scale": [0.1, 400.0, 1.5, 0.7], "log1p": [2.0], "log": [3.0]}


def raw(num: int = 6) -> Tensor:
    torch.manual_seed(1)
    return Scaling(4, **UNITS).undo(torch.randn(num, 4))


def pair(**kwargs: Any) -> tuple[Any, Any]:
    """A model of raw data with a scaling, and the same model of scaled data."""
    settings = {
        "shape": (4,),
        "latent_dim": 2,
        "encoder": small,
        "decoder": small,
        "likelihood": SharedNormal,
        **kwargs,
    }
    torch.manual_seed(0)
    model = VAE(scaling=UNITS, **settings)
    torch.manual_seed(0)
    return model.eval(), VAE(**settings).eval()


def test_scaling_is_inverted_and_its_slope_is_the_derivative() -> None:
    scaling, x = Scaling(4, **UNITS).double(), raw().double()
    y = scaling(x)
    torch.testing.assert_close(scaling.undo(y), x)
    jacobian = torch.autograd.functional.jacobian(scaling, x[0])
    torch.testing.assert_close(scaling.log_slope(x)[0], jacobian.diagonal().log())


@pytest.mark.parametrize("missing", [False, True])
def test_the_bound_is_that_of_scaled_data_plus_the_jacobian(missing: bool) -> None:
    model, plain = pair(missing=missing)
    x, scaling = raw(), model.likelihood.scaling
    slope = scaling.log_slope(x)
    y = scaling(x)
    if missing:
        x[0, 1], x[2] = NAN, NAN
        y = torch.where(x.isnan(), x, y)
        slope = torch.where(x.isnan(), 0.0, slope)
    torch.manual_seed(2)
    found = model.elbo(x, num_samples=3)
    torch.manual_seed(2)
    expected = plain.elbo(y, num_samples=3)
    torch.testing.assert_close(found.value, expected.value + slope.sum(1))
    torch.testing.assert_close(found.kl, expected.kl)
    torch.manual_seed(2)
    evidence = model.log_evidence(x, num_samples=20, chunk=20)
    torch.manual_seed(2)
    torch.testing.assert_close(evidence, plain.log_evidence(y, num_samples=20, chunk=20) + slope.sum(1))


def test_the_evidence_in_the_original_units_is_that_of_the_equivalent_linear_model() -> None:
    """A linear-Gaussian model of y = (x - m) / s is one of x with weights s W, bias m + s b and noise s σ."""
    torch.manual_seed(0)
    model = LinearGaussian(shape=(3,), latent_dim=2)
    x, shift, scale = torch.randn(5, 3).double(), [1.0, 2.0, -3.0], [10.0, 0.1, 2.0]
    exact = torch.distributions.MultivariateNormal
    weight, bias = (p.detach() for p in (model.decoder.layers[1].weight, model.decoder.layers[1].bias))
    size = torch.tensor(scale).double()
    covariance = (size[:, None] * weight) @ (size[:, None] * weight).T + (model.scale * size).square().diag()
    expected = exact(torch.tensor(shift).double() + size * bias, covariance).log_prob(x)
    encode = model.encode
    model.likelihood.rescale({"shift": shift, "scale": scale})
    model.double()
    model.encode = lambda x, c=None: encode(model.likelihood.scaled(x), c)
    torch.testing.assert_close(model.log_evidence(x, num_samples=2), expected, atol=1e-5, rtol=1e-6)


def test_log_normal_entries_have_the_moments_of_the_log_normal_distribution() -> None:
    likelihood = DiagonalNormal((2,))
    likelihood.rescale({"shift": [0.3, 0.0], "scale": [0.5, 2.0], "log": [0.0]})
    params = torch.tensor([[[0.2, 1.0], [-0.4, 0.1]]])
    px = likelihood(params)
    loc, log_scale = params[0]
    exact = LogNormal(0.3 + 0.5 * loc[0], 0.5 * log_scale[0].exp())
    torch.testing.assert_close(px.mean[0, 0], exact.mean)
    torch.testing.assert_close(px.variance[0, 0], exact.variance)
    x = torch.tensor([[1.7, 0.5]])
    normal = torch.distributions.Normal(2 * loc[1], 2 * log_scale[1].exp())
    torch.testing.assert_close(px.log_prob(x), exact.log_prob(x[:, 0]) + normal.log_prob(x[:, 1]))
    draws = px.sample((40000,))[:, 0]
    torch.testing.assert_close(draws.mean(0), px.mean[0], atol=0.06, rtol=0.02)


def test_samples_reconstructions_and_predictions_are_in_the_original_units() -> None:
    model, plain = pair(likelihood=SharedNormal)
    scaling, x = model.likelihood.scaling, raw()
    torch.manual_seed(3)
    drawn = model.sample(5, mean=False)
    torch.manual_seed(3)
    torch.testing.assert_close(drawn, scaling.undo(plain.sample(5, mean=False)))
    affine = [0, 1]
    made, expected = model.reconstruct(x), scaling.undo(plain.reconstruct(scaling(x)))
    torch.testing.assert_close(made[:, affine], expected[:, affine])
    torch.testing.assert_close(model.embed(x), plain.embed(scaling(x)))
    torch.testing.assert_close(model.predict_step((x,), 0)["reconstruction"], made)


def test_fitted_scalings_agree_with_numpy() -> None:
    x = torch.from_numpy(np.random.default_rng(0).lognormal(size=(400, 4))).float()
    x[:7, 0] = NAN
    known = x[7:, 0].double().numpy()
    found = fit_scaling(x, ["standard", "robust", "minmax", "log1p"], list("abcd"), "x")
    assert found is not None
    columns = [c.double().numpy() for c in x.T]
    np.testing.assert_allclose(found["shift"][0], known.mean())
    np.testing.assert_allclose(found["scale"][0], known.std())
    low, middle, high = np.quantile(columns[1], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(found["shift"][1], middle, rtol=0.02)
    np.testing.assert_allclose(found["scale"][1], (high - low) / 1.349, rtol=0.02)
    np.testing.assert_allclose((found["shift"][2], found["scale"][2]), (columns[2].min(), np.ptp(columns[2])))
    np.testing.assert_allclose(found["scale"][3], np.log1p(columns[3]).std())
    assert found["log1p"] == [3.0]
    scaled = Scaling(4, **found)(x)
    assert abs(scaled[:, 3].mean()) < 1e-4
    assert abs(scaled[:, 3].std() - 1) < 1e-2


def test_a_constant_column_keeps_its_scale() -> None:
    found = fit_scaling(torch.full((5, 2), 3.0), ["standard", "robust"], ["a", "b"], "x")
    assert found == {"shift": [3.0, 3.0], "scale": [1.0, 1.0]}


def test_errors_are_one_line(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "i.npy", np.zeros((40, 8, 8)))
    path = str(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"scaling log1p needs values above -1, got -.* in column 1 of "):
        _ = Arrays(path=path, scaling={"1": "log1p"}).scaling
    with pytest.raises(ValueError, match=r"columns are numbered 0 \.\. 2, got 7"):
        _ = Arrays(path=path, scaling={"7": "standard"}).scaling
    with pytest.raises(ValueError, match=r"scaling must be one of none, standard, .* got 'zscore'"):
        Arrays(path=path, scaling="zscore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scaling is of the columns of vectors"):
        _ = Arrays(path=str(tmp_path / "i.npy"), scaling="standard").scaling
    with pytest.raises(ValueError, match="Bernoulli is of discrete values, and scaled data need one of real numbers"):
        VAE(shape=(4,), likelihood=Bernoulli, scaling=UNITS)
    with pytest.raises(ValueError, match="only vectors are scaled"):
        tiny(VAE, likelihood=SharedNormal, scaling=UNITS)
    with pytest.raises(ValueError, match="shift of the scaling must have 3 numbers, as an example, got 4"):
        VAE(shape=(3,), likelihood=SharedNormal, scaling=UNITS)


def test_pseudo_inputs_and_corruption_are_in_the_scaled_units() -> None:
    settings = {"shape": (4,), "latent_dim": 2, "encoder": small, "decoder": small, "likelihood": SharedNormal}
    x = raw(64)
    vamp = VampVAE(scaling=UNITS, num_pseudo=8, in_unit_interval=False, pseudo_std=0.0, **settings)
    vamp._initialise(x)
    near = (vamp.pseudo_inputs[:, None] - x).abs().div(torch.tensor(UNITS["scale"])).amax(2).amin(1)
    assert near.max() < 1e-2
    noisy = DenoisingVAE(scaling=UNITS, **settings).train()
    assert noisy.losses(x)["loss"].isfinite()


def test_units_stay_with_the_weights(tmp_path: Path) -> None:
    model, _ = pair()
    model.save_pretrained(tmp_path / "m")
    again = vae_zoo.from_pretrained(tmp_path / "m")
    torch.testing.assert_close(again.elbo(raw()).kl, model.elbo(raw()).kl)
    assert torch.equal(again.likelihood.scaling.shift, model.likelihood.scaling.shift)
    half = copy.deepcopy(model).bfloat16()
    for name, units in model.likelihood.scaling.named_buffers():
        assert torch.equal(getattr(half.likelihood.scaling, name), units), name


def table(folder: Path, num: int = 300) -> str:
    generator = np.random.default_rng(0)
    z = generator.normal(size=(num, 2))
    x = np.column_stack([z[:, 0], 1e4 * z[:, 1] + 3e4, np.exp(z[:, 0] + 0.1 * generator.normal(size=num))])
    np.save(folder / "x.npy", x.astype(np.float32))
    return str(folder / "x.npy")


@pytest.mark.exhaustive
def test_a_fit_of_scaled_columns_reports_their_density_in_the_original_units(tmp_path: Path) -> None:
    """The bound of the fit is above that of independent normal columns, in the units of the data."""
    data = Arrays(path=table(tmp_path), scaling={"0": "standard", "1": "standard", "2": "log"}, batch_size=64)
    torch.manual_seed(0)
    model = VAE(shape=(3,), latent_dim=2, scaling=data.scaling, likelihood=SharedNormal, encoder=small, decoder=small)
    model.lr = 1e-2
    quiet_trainer(tmp_path, max_epochs=30).fit(model, data)
    model.eval()
    x = data.load("val").x
    train = data.load("train").x
    simple = torch.distributions.Normal(train.mean(0), train.std(0)).log_prob(x).sum(1).mean()
    found = model.elbo(x, num_samples=50).value.mean()
    assert simple + 0.3 < found < simple + 5
    drawn = model.sample(2000, mean=False)
    torch.testing.assert_close(drawn[:, 1].mean(), train[:, 1].mean(), atol=3e3, rtol=0)
    assert (drawn[:, 2] > 0).all()


@pytest.mark.parametrize(
    ("likelihood", "line"),
    [
        (partial(FixedNormal, scale=1.0), "Column 1, counted from 0, has values of size"),
        (OptimalNormal, "Column 1, counted from 0, has values of size"),
    ],
)
def test_a_line_names_columns_whose_units_make_nonsense_of_the_likelihood(
    likelihood: Any, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], logged: list[str]
) -> None:
    data = Arrays(path=table(tmp_path))
    model = VAE(shape=(3,), latent_dim=2, likelihood=likelihood, encoder=small, decoder=small)
    quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(model, data)
    text = "\n".join(logged)
    assert line in text
    assert "set the data's scaling to standard" in text
    logged.clear()
    good = Arrays(path=table(tmp_path), scaling="standard")
    model = VAE(shape=(3,), latent_dim=2, likelihood=likelihood, scaling=good.scaling, encoder=small, decoder=small)
    quiet_trainer(tmp_path, max_epochs=1, limit_train_batches=1).fit(model, good)
    assert not any("scaling" in line for line in logged)


def test_student_entries_after_a_logarithm_have_a_mean_from_samples() -> None:
    likelihood = StudentT((2,))
    likelihood.rescale({"log": [0.0]})
    with pytest.raises(NotImplementedError):
        _ = likelihood(torch.zeros(1, 2)).mean
    assert isinstance(unscaled(likelihood(torch.zeros(1, 2))), Independent)


def test_help_schema_and_completion_know_the_options_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are linked to the model are arguments of the data too."""
    main(["fit", "--data", "Arrays", "--help"])
    assert "--data.scaling" in capsys.readouterr().out
    main(["show", "Arrays"])
    assert "missing" in capsys.readouterr().out
    main(["completion", "bash"])
    assert "--data.scaling" in (shown := capsys.readouterr().out)
    assert "--model.scaling" not in shown


@pytest.mark.exhaustive
def test_the_command_links_the_scaling_and_predicts_in_the_original_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = table(tmp_path)
    short = ["--trainer.max_epochs=2", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    main(["fit", "--model=VAE", "--data=Arrays", f"--data.path={path}", "--data.scaling=standard", *short])
    checkpoint = str(next(tmp_path.glob("results/VAE_Arrays/*/checkpoints/last*.ckpt")))
    model = vae_zoo.load(checkpoint)
    assert model.likelihood.scaling.shift[1] > 2e4
    main(["predict", f"--ckpt_path={checkpoint}"])
    found = load_arrays(next(tmp_path.glob("results/VAE_Arrays/**/reconstructions.npz")))
    assert found["reconstruction"][:, 1].mean() > 1e4
    main(["sample", f"--ckpt_path={checkpoint}", "--num=10", "--out=drawn.npz"])
    assert load_arrays("drawn.npz")["x"][:, 1].mean() > 1e4
