"""Details that no other test covers, each found by changing the code and seeing all tests pass."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers import Batches, LinearGaussian, losses, quiet_trainer, tiny

from vae_zoo.callbacks import Evidence
from vae_zoo.data.files.csv_files import read_csv
from vae_zoo.distributions import AutoregressiveFlow, ConditionalNormal, FlowPrior
from vae_zoo.models import FactorVAE, LadderVAE


def test_steps_of_a_flow_take_turns_from_either_end() -> None:
    for n, made in enumerate(AutoregressiveFlow((3,), num_transforms=3).steps):
        step = made(torch.randn(16))
        slopes = torch.autograd.functional.jacobian(lambda x, step=step: step.forward(x)[0], torch.randn(3))
        later = slopes.tril(-1) if n % 2 else slopes.triu(1)
        assert (later == 0).all()
        assert (slopes != 0).sum() == 6


def test_a_discriminator_at_chance_has_a_loss_of_log_2(images: torch.Tensor) -> None:
    model = tiny(FactorVAE)
    for p in model.discriminator.parameters():
        torch.nn.init.zeros_(p)
    values = losses(model, images)
    assert values["discriminator_loss"].item() == pytest.approx(math.log(2))
    assert (values["loss"] + values["elbo"]).item() == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize("prior", [ConditionalNormal, FlowPrior])
def test_classes_have_equal_parts_in_a_prior_without_condition(prior: type) -> None:
    p = prior((2,), num_classes=4)()
    torch.testing.assert_close(p.mixture_distribution.probs, torch.full((4,), 0.25))


def test_variance_of_layers(images: torch.Tensor) -> None:
    model = tiny(LadderVAE, latent_dims=[2, 1])
    q = model.encode(images)
    lowest, top = q.layers(q.mean)
    torch.testing.assert_close(q.variance, torch.cat([lowest.variance, top.variance], 1))
    assert (q.variance > 0).all()


def test_error_from_the_choice_of_examples(tmp_path: Path) -> None:
    model, x = LinearGaussian(shape=(5,), latent_dim=2), torch.randn(7, 5, dtype=torch.float64)
    trainer = quiet_trainer(tmp_path, callbacks=[Evidence(num_samples=3)])
    (values,) = trainer.test(model, Batches(x[:3], x[3:]), verbose=False)
    exact = model.exact_evidence(x)
    assert values["test/log_evidence_se_data"] == pytest.approx(exact.std().item() / math.sqrt(7), rel=1e-4)


def test_a_header_may_hold_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("height,2020\n1,2\n3,4\n")
    x, y, _ = read_csv(tmp_path / "a.csv", None)
    assert x.tolist() == [[1, 2], [3, 4]]
    assert y is None
