"""The VQ-VAE with codes of a chosen class."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_arrays, saved, small, tiny
from torch import Tensor

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.elbo import depends_on_condition
from vae_zoo.models import VQVAE, ConditionalVQVAE
from vae_zoo.nn import CodePrior

PRIOR = partial(CodePrior, width=16, num_heads=2)


def model_of(**kwargs: Any) -> ConditionalVQVAE:
    torch.manual_seed(0)
    return tiny(ConditionalVQVAE, **{"encoder": small, "decoder": small, "num_codes": 4, "code_prior": PRIOR, **kwargs})


def fitted() -> ConditionalVQVAE:
    """A prior that has learned that all codes of class k are k."""
    model = model_of()
    optimizer = torch.optim.Adam(model.code_prior.parameters(), lr=1e-2)
    for _ in range(60):
        c = torch.randint(3, (32,))
        optimizer.zero_grad()
        (-model.log_prior(c[:, None, None].expand(-1, 2, 2), c).mean()).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def model() -> ConditionalVQVAE:
    return fitted()


def test_codes_are_those_of_the_class(model: ConditionalVQVAE) -> None:
    c = torch.arange(300) % 3
    torch.manual_seed(0)
    codes = model.draw_codes(300, c)
    assert (codes == c[:, None, None]).float().mean() > 0.95
    uniform = -model.log_prior(codes, c).mean()
    assert uniform < 0.5  # and 4 log 3 = 4.4 without knowing the class
    assert -model.log_prior(codes, (c + 1) % 3).mean() > 4


def test_of_each_class_probabilities_add_up_to_one(model: ConditionalVQVAE) -> None:
    every = torch.cartesian_prod(*[torch.arange(4)] * 4).reshape(-1, 2, 2)
    for label in range(3):
        log_prob = model.log_prior(every, torch.full((256,), label))
        assert torch.logsumexp(log_prob, 0).item() == pytest.approx(0, abs=1e-4)


def test_samples_are_of_the_chosen_class(model: ConditionalVQVAE) -> None:
    wanted = [model.decode(model.lookup(torch.full((1, 2, 2), k))).mean for k in range(3)]
    for label in range(3):
        torch.manual_seed(0)
        x = model.sample(50, torch.full((50,), label))
        assert (x - wanted[label]).flatten(1).abs().amax(1).lt(1e-5).float().mean() > 0.8
    torch.manual_seed(0)
    in_turn = model.sample(6)
    torch.manual_seed(0)
    assert torch.equal(in_turn, model.sample(6, torch.tensor([0, 1, 2, 0, 1, 2])))
    assert depends_on_condition(model, torch.arange(3))


def test_rate_is_of_the_class(model: ConditionalVQVAE, images: Tensor) -> None:
    c = torch.arange(16) % 3
    values = model.losses(images, c)
    torch.testing.assert_close(values["kl"], -model.code_prior.log_prob(model.codes(images), c).mean())
    assert values["kl"] != model.losses(images, (c + 1) % 3)["kl"]


@pytest.mark.parametrize("label", [0, 2])
def test_command(model: ConditionalVQVAE, label: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, model)
    main(["sample", "--ckpt_path", str(path), "--num", "20", "--class", str(label), "--out", "a.npz"])
    found = load_arrays("a.npz")
    assert found["y"].tolist() == [label] * 20
    wanted = model.decode(model.lookup(torch.full((1, 2, 2), label))).mean[0].detach().numpy()
    near = np.abs(found["x"] - wanted).max((1, 2, 3)) < 1e-5
    assert near.mean() > 0.8
    with pytest.raises(SystemExit):
        main(["sample", "--ckpt_path", str(path), "--num", "2", "--class", "7", "--out", "b.npz"])


def test_without_classes_nothing_changes() -> None:
    """The parameters of a prior without classes are those that checkpoints of older versions hold."""
    model = tiny(VQVAE, code_prior=PRIOR)
    assert not [name for name in model.state_dict() if "classes" in name or "context" in name]
    older = vae_zoo.load(Path(__file__).parents[1] / "older" / "VQVAE.ckpt")
    assert older.sample(2).shape == (2, *older.shape)


@pytest.mark.parametrize(
    ("c", "message"),
    [
        (None, "ConditionalVQVAE needs the labels of the examples, c of shape"),
        (torch.arange(4), "labels must be integers of shape (16,), got torch.int64 of shape (4,)"),
        (torch.rand(16), "labels must be integers of shape (16,), got torch.float32"),
        (torch.full((16,), 3), "labels must lie in 0 .. 2, got 3 to 3"),
    ],
)
def test_bad_labels(model: ConditionalVQVAE, images: Tensor, c: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        model.check_batch((images, c) if c is not None else images)
    if c is not None:
        with pytest.raises(ValueError, match=re.escape(message)):
            model.sample(16, c)


def test_bad_values(images: Tensor) -> None:
    with pytest.raises(ValueError, match="ConditionalVQVAE needs data with labels, got num_classes None"):
        ConditionalVQVAE(shape=(4,))
    with pytest.raises(ValueError, match="a prior of classes needs the labels"):
        model_of().losses(images)
    prior = CodePrior((2,), 3)
    prior.condition(context_dim=5)
    with pytest.raises(ValueError, match="a prior with a context needs its features, got none"):
        prior.sample(1)
