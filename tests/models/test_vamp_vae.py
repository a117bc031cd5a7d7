from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SHAPE, Batches, build, fit, linked, losses, quiet_trainer, small, tiny, tiny_data
from torch import Tensor

from vae_zoo import hub
from vae_zoo.models import IWAE, BetaVAE, VampVAE


def test_prior_is_the_mixture_of_posteriors(images: Tensor) -> None:
    torch.manual_seed(0)
    model = tiny(VampVAE, num_pseudo=5).double()
    z = torch.randn(3, 7, 4, dtype=torch.float64)
    q = model.encode(model.pseudo.clamp(0, 1)).base_dist
    each = torch.distributions.Normal(q.loc, q.stddev).log_prob(z[:, :, None]).sum(-1)
    torch.testing.assert_close(model.prior().log_prob(z), each.logsumexp(-1) - math.log(5))
    assert model.prior().batch_shape == ()


def test_samples_come_from_its_own_prior() -> None:
    """Latents of samples have the density of the mixture, not that of N(0, I), which is far below here."""
    torch.manual_seed(0)
    model = tiny(VampVAE, num_pseudo=3)
    with torch.no_grad():
        model.encoder.layers[-1].bias[:4] = 6.0  # all posteriors about (6, 6, 6, 6)
    seen: list[Tensor] = []
    decode = model.decode
    model.decode = lambda z, c=None: seen.append(z) or decode(z, c)
    assert model.sample(500).shape == (500, *SHAPE)
    prior, (z,) = model.prior(), seen
    reference = prior.log_prob(prior.sample((4000,)))
    got = prior.log_prob(z)
    assert (got.mean() - reference.mean()).abs() < 4 * reference.std() / math.sqrt(500)
    assert (z.mean(0) - prior.mean).abs().max() < 4 * prior.stddev.max() / math.sqrt(500)


def test_kl_is_the_mean_of_the_log_ratio(images: Tensor) -> None:
    model = tiny(VampVAE)
    terms = model.elbo(images, num_samples=3)
    torch.testing.assert_close(terms.kl, (terms.log_qz - terms.log_pz).mean(0))


class TestPseudoInputs:
    def test_start_from_training_examples(self, tmp_path: Path) -> None:
        data = tiny_data()
        model = tiny(VampVAE, num_pseudo=20, pseudo_std=0.0)
        model.initialise(data.examples("train"))
        distance = (model.pseudo.flatten(1)[:, None] - data.examples("train").flatten(1)).abs().sum(-1)
        nearest = distance.argmin(1)
        assert (distance.min(1).values == 0).all()
        assert len(set(nearest.tolist())) == 20  # no example twice while there are enough

    def test_more_of_them_than_examples_and_noise(self) -> None:
        x = torch.full((3, *SHAPE), 0.5)
        model = tiny(VampVAE, num_pseudo=200, pseudo_std=0.1)
        model.initialise(x)
        noise = model.pseudo - 0.5
        assert noise.mean().abs() < 4 * 0.1 / math.sqrt(noise.numel())
        assert noise.std().item() == pytest.approx(0.1, rel=0.05)

    def test_noise_alone_as_in_the_paper(self) -> None:
        model = tiny(VampVAE, num_pseudo=200, pseudo_mean=0.05, pseudo_std=0.01)
        before = model.pseudo.clone()
        model.initialise(torch.rand(9, *SHAPE))
        assert torch.equal(model.pseudo, before)
        assert before.mean().item() == pytest.approx(0.05, abs=0.001)
        assert before.std().item() == pytest.approx(0.01, rel=0.05)

    def test_black_and_white_ones_learn(self, images: Tensor) -> None:
        """Under Hardtanh, pixels that are exactly 0 or 1 would have no gradient."""
        model = tiny(VampVAE, pseudo_std=0.0)
        model.initialise((images > 0.5).float())
        losses(model, images)["loss"].backward()
        for side in (0.0, 1.0):
            at = model.pseudo == side
            assert at.any()
            assert (model.pseudo.grad[at] != 0).any()

    def test_saved_and_set_only_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        original = VampVAE.initialise
        monkeypatch.setattr(VampVAE, "initialise", lambda self, x: (calls.append(len(x)), original(self, x))[0])
        kwargs = {"encoder": small, "decoder": small}
        model, trainer = fit(tmp_path, VampVAE, kwargs=kwargs, max_epochs=1)
        assert calls == [48]
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        again = hub.load(tmp_path / "a.ckpt")
        assert torch.equal(again.pseudo, model.pseudo)
        quiet_trainer(tmp_path).fit(again.train(), tiny_data())
        fit(tmp_path, VampVAE, kwargs=kwargs, max_epochs=2, ckpt_path=tmp_path / "a.ckpt")
        assert calls == [48]

    def test_first_batch_of_a_foreign_loader(self, tmp_path: Path) -> None:
        model = tiny(VampVAE, pseudo_std=0.0, num_pseudo=4, optimizer=None)
        loader = Batches(torch.full((5, *SHAPE), 0.25))
        quiet_trainer(tmp_path, max_epochs=1).fit(model, loader, loader)
        assert (model.pseudo - 0.25).abs().max() <= 0.0011  # one step of Adam away

    def test_data_outside_the_unit_interval(self) -> None:
        x = torch.randn(30, *SHAPE)
        with pytest.raises(ValueError, match=r"^pseudo-inputs lie in \[0, 1\], the data from -.* to false\.$"):
            tiny(VampVAE).initialise(x)
        model = tiny(VampVAE, in_unit_interval=False)
        model.initialise(x)
        assert torch.equal(model.pseudo_inputs, model.pseudo)
        assert model.pseudo.min() < -1


@pytest.mark.parametrize("other", [BetaVAE, IWAE])
def test_combines_by_inheritance(other: type, images: Tensor) -> None:
    both: Any = type("Both", (other, VampVAE), {"__module__": __name__})
    model = build(both, **linked(VampVAE), encoder=small, decoder=small)
    values = losses(model, images)
    assert isinstance(model.prior(), type(tiny(VampVAE).prior()))
    expected = 4 * values["kl"] - values["reconstruction"] if other is BetaVAE else -values["bound"]
    torch.testing.assert_close(values["loss"], expected)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_pseudo": 0}, "num_pseudo must be at least 1, got 0."),
        ({"pseudo_mean": math.nan}, "pseudo_mean must be finite, got nan."),
        ({"pseudo_std": -0.1}, "pseudo_std must be at least 0 and finite, got -0.1."),
        ({"pseudo_std": math.inf}, "pseudo_std must be at least 0 and finite, got inf."),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="got") as error:
        tiny(VampVAE, **kwargs)
    assert str(error.value) == message
