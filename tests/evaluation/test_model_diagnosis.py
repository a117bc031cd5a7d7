"""Planted faults of trained models, each found under its name, and a model without fault in which nothing is found."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diagnosed import DIM, LATENT, SCALE, drawn, examined, named, one, optimal
from helpers import MODELS, quiet_trainer, tiny, tiny_data
from short import few

from vae_zoo.distributions import Bernoulli, OptimalNormal, SharedNormal
from vae_zoo.evaluation import inference_gaps
from vae_zoo.evaluation.diagnosis import diagnose_content, diagnose_model
from vae_zoo.evaluation.diagnosis.finding import examine
from vae_zoo.evaluation.diagnosis.models import fit, latents, objective, outputs, saved
from vae_zoo.evaluation.diagnosis.models.diagnose import SAVED, TRAINED
from vae_zoo.evaluation.diagnosis.models.examined import Examples
from vae_zoo.evaluation.diagnosis.models.objective import effective_weight
from vae_zoo.models import AE, VAE, VQVAE


def rising(num: int = 60, late: float = 0.0) -> list[float]:
    """A curve that has reached its end, or is rising at it."""
    return [10 - 8 * math.exp(-n / 6) + late * n + 0.01 * (n % 2) for n in range(num)]


@pytest.mark.exhaustive
def test_nothing_is_found_in_a_model_at_its_optimum(healthy: Any) -> None:
    found = examine(TRAINED, healthy)
    assert not named(found), [f for f in found if f.severity != "fine"]
    assert len(found) >= 12


def test_the_gaps_of_a_model_at_its_optimum_are_0() -> None:
    """By chance the estimates differ from 0; by loadings that are not orthogonal the best diagonal posterior does."""
    model = optimal()
    x = drawn(model, 16, 3).x
    gaps = inference_gaps(model, x, num_steps=50)
    assert gaps.amortisation.abs().mean() < 0.15
    assert gaps.approximation.abs().mean() < 0.3


def test_the_gap_of_a_diagonal_posterior_is_that_of_theory() -> None:
    """KL of the best diagonal normal from N(m, P⁻¹) is ½ (Σ log P_jj − log det P)."""
    torch.manual_seed(0)
    loadings = torch.randn(DIM, LATENT) * 0.4
    loadings[:, 1] = loadings[:, 0] + 0.2 * loadings[:, 1]
    model = optimal(weights=loadings)
    precision = (loadings.T @ loadings / SCALE**2 + torch.eye(LATENT)).double()
    theory = 0.5 * float(precision.diagonal().log().sum() - torch.logdet(precision))
    gaps = inference_gaps(model, drawn(model, 16, 3).x, num_steps=100, num_samples=128, num_importance=2000)
    error = float(gaps.approximation.std()) / 4
    assert float(gaps.approximation.mean()) == pytest.approx(theory, abs=0.1 + 3 * error)


@pytest.mark.parametrize("weight", [0.25, 1.0, 4.0])
def test_the_effective_weight_is_that_of_the_posteriors(weight: float) -> None:
    model = optimal(weight=weight)
    found = effective_weight(model, drawn(optimal(), 400, 3).x, num_samples=16)
    assert found.value == pytest.approx(weight, abs=4 * found.error)
    assert found.error < 0.1 * weight


def spoiled(change: Any, **kwargs: Any) -> Any:
    model: Any = optimal(**kwargs)
    with torch.no_grad():
        change(model)
    return model


def collapse(model: Any, dims: slice) -> None:
    layer = model.encoder.layers[1]
    for part in (layer.weight, layer.bias):
        part.view(2, LATENT, -1)[:, dims] = 0


def dull(model: Any) -> None:
    model.decoder.layers[1].weight.zero_()


def offset(model: Any) -> None:
    model.encoder.layers[1].bias[:LATENT] += 2.5


def poor(model: Any) -> None:
    """An encoder whose means are wrong, a little for each example, and as wide as before."""
    model.encoder.layers[1].weight[:LATENT] += 0.35 * torch.randn(
        LATENT, DIM, generator=torch.Generator().manual_seed(4)
    )
    model.encoder.layers[1].bias[:LATENT] = -model.encoder.layers[1].weight[:LATENT].sum(1)


def shifted(model: Any) -> None:
    model.decoder.layers[1].bias += 3


PLANTED = {
    "all latents": (latents.posterior_collapse, lambda: spoiled(lambda m: collapse(m, slice(None)))),
    "three of four latents": (latents.collapsed_latents, lambda: spoiled(lambda m: collapse(m, slice(1, None)))),
    "a decoder of zeros": (latents.decoder_ignores_latents, lambda: spoiled(dull)),
    "latents beside the prior": (latents.aggregate_posterior, lambda: spoiled(offset)),
    "means that mean nothing": (fit.no_gain_over_mean, lambda: spoiled(dull)),
    "outputs beside the data": (fit.no_gain_over_independent, lambda: spoiled(shifted)),
    "a weight of 5": (objective.divergence_too_strong, lambda: optimal(weight=5.0)),
    "a weight of 0.1": (objective.divergence_too_weak, lambda: optimal(weight=0.1)),
    "a poor encoder": (objective.amortisation_gap, lambda: spoiled(poor)),
}


@pytest.fixture(scope="module")
def healthy() -> Any:
    return examined(optimal(), curve=rising())


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_named(name: str, healthy: Any) -> None:
    diagnosis, make = PLANTED[name]
    assert one(diagnosis, examined(make())).severity != "fine"
    assert one(diagnosis, healthy).severity == "fine"


@pytest.mark.exhaustive
def test_latents_that_are_all_correlated() -> None:
    loadings = torch.ones(DIM, LATENT) + 0.03 * torch.randn(DIM, LATENT, generator=torch.Generator().manual_seed(0))
    model = optimal(weights=loadings)
    assert one(objective.approximation_gap, examined(model, model)).severity == "warning"


def test_examples_learned_by_heart() -> None:
    """The mean of each training example is the example itself."""
    model, source = optimal(), optimal()
    subject = examined(model, source)
    with torch.no_grad():
        subject.bounds  # noqa: B018
        train, test = subject.bounds
        subject.__dict__["bounds"] = (train + 10, test - 10)
    assert one(fit.overfitting, subject).severity == "warning"
    assert fit.overfitting(examined(model, source, other_data=True)) is None


def test_a_fit_that_was_stopped_early() -> None:
    assert one(fit.stopped_early, examined(optimal(), num=8, curve=rising(late=0.1))).severity == "warning"
    assert one(fit.stopped_early, examined(optimal(), num=8, curve=rising(15))).severity == "warning"
    assert one(fit.stopped_early, examined(optimal(), num=8, curve=rising())).severity == "fine"
    assert fit.stopped_early(examined(optimal(), num=8, curve=[1.0, 2.0])) is None


@pytest.mark.parametrize(("scale", "severity"), [(1e-3, "fault"), (SCALE, "fine"), (20.0, "warning")])
def test_a_learned_scale_at_its_bound(scale: float, severity: str) -> None:
    model = optimal(likelihood=partial(SharedNormal, scale=scale))
    assert one(outputs.likelihood_scale, examined(model)).severity == severity


def test_a_computed_scale_at_its_bound() -> None:
    model: Any = optimal(likelihood=OptimalNormal)
    model.likelihood.square.fill_(1e-12)
    assert one(outputs.likelihood_scale, examined(model)).severity == "fault"


@pytest.mark.parametrize(("logit", "severity"), [(20.0, "fault"), (2.0, "fine")])
def test_probabilities_that_are_certain_and_wrong(logit: float, severity: str) -> None:
    model: Any = optimal(likelihood=Bernoulli)
    with torch.no_grad():
        model.decoder.layers[1].weight.mul_(0.01)
        model.decoder.layers[1].bias.fill_(logit)
    x = (torch.rand(100, DIM) < 0.9).float()
    assert one(outputs.saturated_outputs, examined(model, train=Examples(x), test=Examples(x))).severity == severity


@pytest.mark.parametrize("change", [lambda x: 255 * x, lambda x: x - 20, lambda x: torch.where(x < 0, math.nan, x)])
def test_examples_in_other_units(change: Any) -> None:
    test = drawn(optimal(), 100, 12)
    assert one(outputs.examples_off_range, examined(optimal(), test=Examples(change(test.x)))).severity == "fault"


def test_bytes_given_to_a_model_of_probabilities() -> None:
    model = optimal(likelihood=Bernoulli)
    x = torch.rand(50, DIM)
    subject = examined(model, train=Examples(x), test=Examples(255 * x))
    assert "divide 8-bit images by 255" in one(outputs.examples_off_range, subject).measured


class Fixed(VQVAE):
    """Codes as they are set, whatever the example."""

    chosen = torch.zeros(1)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return self.chosen[torch.arange(len(x)) % len(self.chosen)]


@pytest.mark.parametrize(("num", "severity"), [(1, "fault"), (4, "warning"), (64, "fine")])
def test_dead_codes(num: int, severity: str) -> None:
    model: Any = Fixed(shape=(DIM,), latent_dim=4, num_codes=64, grid=(2,))
    model.chosen = torch.arange(num)[:, None].expand(num, 2)
    x = torch.rand(128, DIM)
    assert one(latents.dead_codes, examined(model, train=Examples(x), test=Examples(x))).severity == severity


def test_dead_codes_of_a_model_that_maps_everything_to_one() -> None:
    model: Any = VQVAE(shape=(DIM,), latent_dim=4, num_codes=32, grid=(2,), encoder=partial(tiny_encoder))
    x = torch.rand(64, DIM)
    assert one(latents.dead_codes, examined(model, train=Examples(x), test=Examples(x))).severity == "fault"


class tiny_encoder(torch.nn.Module):  # noqa: N801
    def __init__(self, in_shape: Any, out_shape: Any) -> None:
        super().__init__()
        del in_shape
        self.constant = torch.nn.Parameter(torch.ones(out_shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.constant.expand(len(x), *self.constant.shape)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of a checkpoint after two steps."""
    folder = tmp_path_factory.mktemp("saved")
    trainer = quiet_trainer(folder, max_steps=2, max_epochs=-1)
    trainer.fit(tiny(VAE), tiny_data())
    trainer.save_checkpoint(folder / "model.ckpt")
    loaded: dict[str, Any] = torch.load(folder / "model.ckpt", weights_only=True)
    return loaded


def test_nothing_is_found_in_the_checkpoint_of_a_fit(content: dict[str, Any]) -> None:
    assert not named(diagnose_content(content))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(content: dict[str, Any], value: float) -> None:
    weights = {name: x.clone() for name, x in content["state_dict"].items()}
    weights["decoder.layers.1.weight"][0, 0] = value
    found = one(saved.weights_not_finite, {**content, "state_dict": weights})
    assert found.severity == "fault"
    assert "decoder.layers.1.weight" in found.measured


@pytest.mark.parametrize("version", ["0.0.9", "2.0.0", ""])
def test_another_version(content: dict[str, Any], version: str) -> None:
    about = {**content["vae_zoo"], "version": version}
    assert one(saved.saved_by_another_version, {**content, "vae_zoo": about}).severity == "warning"


def test_no_state_to_resume_from(content: dict[str, Any]) -> None:
    lost = {name: value for name, value in content.items() if name != "optimizer_states"}
    assert one(saved.cannot_be_resumed, lost).severity == "warning"
    assert saved.cannot_be_resumed({"state_dict": {}, "vae_zoo": {}}) is None  # a folder of save_pretrained


def test_state_of_another_optimizer(content: dict[str, Any]) -> None:
    (state,) = content["optimizer_states"]
    moments = {key: {**value, "exp_avg": torch.zeros(3, 7, 5)} for key, value in state["state"].items()}
    found = one(saved.cannot_be_resumed, {**content, "optimizer_states": [{**state, "state": moments}]})
    assert found.severity == "fault"
    assert "(3, 7, 5)" in found.measured
    few_listed = {**state, "param_groups": [{**state["param_groups"][0], "params": [0]}]}
    assert one(saved.cannot_be_resumed, {**content, "optimizer_states": [few_listed]}).severity == "fault"


@pytest.mark.parametrize(("steps", "severity"), [(50, "warning"), (2, "fine")])
def test_an_unfinished_warm_up(tmp_path: Path, steps: int, severity: str) -> None:
    from vae_zoo.callbacks import BestCheckpoint, LinearAnnealing

    best = BestCheckpoint(dirpath=str(tmp_path), monitor="val/elbo", mode="max")
    annealing = LinearAnnealing(num_steps=steps)
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[annealing, best], enable_checkpointing=True)
    trainer.fit(tiny(VAE), tiny_data())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert one(saved.warm_up_unfinished, loaded).severity == severity


def test_examples_off_range_end_the_examination() -> None:
    data = tiny_data()
    model = tiny(VAE)
    found = diagnose_model(model, data, test=Examples(torch.full((20, 1, 8, 8), 200.0)), num=40)
    assert [finding.name for finding in found] == ["examples_off_range"]


@pytest.mark.parametrize("cls", few(MODELS, 4, VQVAE, AE), ids=lambda cls: cls.__name__)
def test_every_model_can_be_examined(cls: type) -> None:
    """Before any training there is much to find, and nothing that fails."""
    from vae_zoo.data import Pairs

    data: Any = tiny_data()
    if "Ada" in cls.__name__:
        data = Pairs(data=tiny_data()) if "data" in Pairs.__init__.__annotations__ else data
    found = diagnose_model(tiny(cls), data, num=24)
    assert all(math.isfinite(len(finding.measured)) and "nan" not in finding.measured for finding in found)


def test_names_are_those_of_the_functions() -> None:
    names = [diagnosis.__name__ for diagnosis in (*SAVED, *TRAINED)]
    assert len(set(names)) == len(names)
    assert all((diagnosis.__doc__ or "").strip() for diagnosis in (*SAVED, *TRAINED))


def test_the_independent_model_is_that_of_the_closed_form(healthy: Any) -> None:
    """Under a normal likelihood with a fixed σ, the best parameters are the means of the training examples."""
    found = fit.independent_scores(healthy)
    assert found is not None
    centre = healthy.train.x.mean(0)
    for scores, part in zip(found, (healthy.train, healthy.test), strict=True):
        exact = torch.distributions.Normal(centre, SCALE).log_prob(part.x).sum(1)
        torch.testing.assert_close(scores, exact, rtol=1e-3, atol=0.02)


def test_a_model_that_knows_the_mean_alone_gains_nothing() -> None:
    def mean_alone(model: Any) -> None:
        collapse(model, slice(None))
        dull(model)

    assert one(fit.no_gain_over_independent, examined(spoiled(mean_alone))).severity == "warning"


def test_a_difference_from_the_prior_must_be_large_and_not_only_sure() -> None:
    def nudge(model: Any) -> None:
        model.encoder.layers[1].bias[:LATENT] += 0.2

    found = one(latents.aggregate_posterior, examined(spoiled(nudge), num=900))
    assert found.measured.endswith("p = 0.002")
    assert found.severity == "fine"
