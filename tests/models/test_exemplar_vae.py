"""The exemplar prior: its density, what is left out of it, and where its exemplars come from."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import ranks
from helpers import SHAPE, fit, tiny, tiny_data
from torch import Tensor
from torch.utils.data import DataLoader

from vae_zoo.data import Arrays, Digits
from vae_zoo.data.base import datamodule
from vae_zoo.distributions import DiagonalLaplace, Mixture, Normal, SharedNormal
from vae_zoo.distributions.normal import independent
from vae_zoo.models import ExemplarVAE
from vae_zoo.testing.subject import quiet_trainer


def test_prior_is_the_mixture_around_the_exemplars() -> None:
    torch.manual_seed(0)
    model = tiny(ExemplarVAE, num_exemplars=5, start_scale=0.7).double().eval()
    model.left_out[0] = True  # of a step of training, so that it means nothing here
    z = torch.randn(3, 7, 4, dtype=torch.float64)
    centres = model.encode(model.exemplars).mean
    each = torch.distributions.Normal(centres, torch.tensor(0.7, dtype=torch.float64)).log_prob(z[:, :, None]).sum(-1)
    torch.testing.assert_close(model.prior().log_prob(z), each.logsumexp(-1) - math.log(5))
    torch.testing.assert_close(
        model.train().prior().log_prob(z), each[..., 1:].logsumexp(-1) - math.log(4), msg="four are left"
    )


def test_a_mixture_without_some_components_is_that_of_the_others() -> None:
    torch.manual_seed(0)
    loc, log_scale = 3 * torch.randn(6, 2), torch.randn(6, 2) / 4
    left_out = torch.tensor([True, False, False, True, False, False])

    def mixture(rows: Tensor, *args: Tensor) -> Mixture:
        return Mixture(independent(Normal(loc[rows], log_scale[rows]), 1), *args)

    part, whole = mixture(~left_out), mixture(torch.arange(6), left_out)
    z = torch.randn(9, 2)
    torch.testing.assert_close(whole.log_prob(z), part.log_prob(z))
    torch.testing.assert_close(whole.mean, part.mean)
    torch.testing.assert_close(whole.variance, part.variance)
    drawn = whole.sample((20_000,))
    assert ((drawn.mean(0) - part.mean).abs() < 4.5 * part.stddev / 20_000**0.5).all()
    torch.testing.assert_close(drawn.var(0), part.variance, rtol=0.05, atol=0)
    assert whole.sample().shape == (2,)


class Watched(ExemplarVAE):
    """Counts the exemplars in each batch, all of which must be left out, and no others."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        if self.training:
            same = (self.exemplars.flatten(1)[:, None] == x.flatten(1)).all(-1).any(1)
            assert torch.equal(self.left_out, same)
            self.seen = [*getattr(self, "seen", []), int(same.sum())]
        return super().losses(x, c)


@pytest.mark.parametrize("known", [True, False], ids=["with num_train", "without"])
def test_a_batch_is_not_explained_by_itself(known: bool, tmp_path: Path) -> None:
    data = Digits(batch_size=400)
    kwargs = {"num_exemplars": 20, "num_train": data.num_train if known else None, "latent_dim": 3}
    model, _ = fit(tmp_path, Watched, data=data, kwargs=kwargs, max_epochs=2)
    assert len(model.seen) > 4
    assert sum(model.seen) == 2 * 20, "every exemplar once an epoch"


class Counting(ExemplarVAE):
    """Counts the exemplars that are left out of the prior in training."""

    seen = 0

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        self.seen += int(self.left_out.sum()) if self.training else 0
        return super().losses(x, c)


def with_gaps(path: Path, num: int = 400) -> Path:
    """Arrays of six columns, of whose values 30 % are missing."""
    random = np.random.default_rng(0)
    x = random.normal(size=(num, 6)).astype(np.float32)
    x[random.random(x.shape) < 0.3] = np.nan
    np.save(path / "gaps.npy", x)
    return path / "gaps.npy"


GAPS: dict[str, Any] = {"shape": (6,), "missing": True, "likelihood": SharedNormal}


@pytest.mark.parametrize("kind", ["grey", "binarised", "shifted", "with gaps", "in a file"])
def test_every_exemplar_is_left_out_once_an_epoch_whatever_the_examples_go_through(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, dict[str, Any]] = {"binarised": {"binarization": "dynamic"}, "shifted": {"shift": 1}}
    data: Any = Digits(batch_size=100, **changes.get(kind, {}))
    kwargs: dict[str, Any] = {"num_exemplars": 200, "num_train": None, "latent_dim": 3}
    if kind == "with gaps":
        data, kwargs = Arrays(path=str(with_gaps(tmp_path)), missing=True, batch_size=50), kwargs | GAPS
    if kind == "in a file":  # of which a part is looked at
        np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (600, 8, 8, 1), np.uint8))
        monkeypatch.setattr(datamodule, "_SAMPLE", 300 * 8 * 8 * 4)
        data = Arrays(path=str(tmp_path / "a.npy"), in_memory_limit=0, batch_size=50)
        assert len(data.examples("train")) == 300 < data.num_train
        kwargs["num_train"] = data.num_train
    model, _ = fit(tmp_path, Counting, data=data, kwargs=kwargs, max_epochs=1)
    assert model.seen == 200


@pytest.mark.parametrize("varied", [False, True], ids=["the same values", "noise"])
def test_a_fit_that_goes_on_with_a_loader_of_its_own_goes_by_values(varied: bool, tmp_path: Path) -> None:
    data = Arrays(path=str(with_gaps(tmp_path)), missing=True, batch_size=50)
    kwargs = {"num_exemplars": 60, "num_train": None, "latent_dim": 3, **GAPS}
    model, _ = fit(tmp_path, Counting, data=data, kwargs=kwargs, max_epochs=1)
    model.seen = 0
    x = data.examples("train")
    loader: Any = DataLoader(x + torch.randn(len(x), 6) if varied else x, batch_size=50)  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quiet_trainer(tmp_path, max_epochs=1).fit(model, loader)
    assert model.seen == (0 if varied else 60)
    found = [str(w.message) for w in said if "exemplars were recognised" in str(w.message)]
    assert len(found) == varied, found
    assert not varied or found[0].startswith("only 0 of 60 exemplars were recognised in a whole epoch")


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no:UserWarning")
def test_a_loader_that_gives_it_one_batch_of_exemplars_is_refused(tmp_path: Path) -> None:
    loader: Any = DataLoader(torch.rand(40, *SHAPE), batch_size=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws exemplars from a whole training split, and a loader gives one batch"):
        fit(tmp_path, ExemplarVAE, data=loader, kwargs={"num_exemplars": 5})


def test_weights_of_before_missing_values_were_recognised_load() -> None:
    model = tiny(ExemplarVAE)
    older = {name: value for name, value in model.state_dict().items() if name != "filler"}
    assert len(older) == len(model.state_dict()) - 1
    tiny(ExemplarVAE).load_state_dict(older)


def fit_half(rank: int, folder: Path) -> None:
    data = Digits(batch_size=200)
    kwargs = {"num_exemplars": 20, "num_train": data.num_train, "latent_dim": 3}
    model, _ = fit(folder, Watched, data=data, kwargs=kwargs, max_epochs=1, devices=2)
    (folder / f"seen{rank}").write_text(str(sum(model.seen)))


@pytest.mark.slow
def test_each_process_leaves_out_its_own_examples(tmp_path: Path) -> None:
    with ranks(tmp_path, fit_half, tmp_path) as running:
        assert running.codes(200) == [0, 0], "\n".join(running.said()[-30:])
    seen = [int((tmp_path / f"seen{rank}").read_text()) for rank in (0, 1)]
    assert min(seen) > 0
    assert 20 <= sum(seen) <= 21, "every exemplar once an epoch, and one more if an example fills up the last batch"


def test_without_leaving_out_the_bound_of_training_rewards_copies() -> None:
    """Narrow posteriors on their own components of the prior have a rate that says how many exemplars there are."""
    torch.manual_seed(0)
    model = tiny(ExemplarVAE, num_exemplars=8, start_scale=1e-3)
    with torch.no_grad():
        model.exemplars.copy_(torch.rand(8, *SHAPE))
        centres = model.encode(model.exemplars).mean
        gap = torch.cdist(centres, centres).fill_diagonal_(math.inf).min()
        model.log_scale.fill_(float(torch.log(gap / 20)))
        own = model.train().prior().log_prob(centres)
        model.left_out[0] = True
        assert (model.prior().log_prob(centres)[0] - own[0]) < -20
        torch.testing.assert_close(model.prior().log_prob(centres)[1:], own[1:] + math.log(8 / 7))


def test_exemplars_are_training_examples_and_are_saved(tmp_path: Path) -> None:
    data = tiny_data()
    model, _ = fit(tmp_path, ExemplarVAE, kwargs={"num_exemplars": 12, "num_train": 48, "latent_dim": 3})
    x = data.examples("train")
    distance = (model.exemplars.flatten(1)[:, None] - x.flatten(1)).abs().sum(-1)
    assert (distance.min(1).values == 0).all()
    assert len(set(distance.argmin(1).tolist())) == 12
    assert {"exemplars", "rows"} <= model.state_dict().keys()


def test_a_batch_of_all_exemplars_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a batch holds all 2 exemplars.*raise num_exemplars"):
        fit(tmp_path, ExemplarVAE, data=tiny_data(batch_size=48), kwargs={"num_exemplars": 2, "latent_dim": 3})


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"num_exemplars": 1}, "num_exemplars must be at least 2, got 1"),
        ({"start_scale": 0.0}, "start_scale must be positive and finite, got 0.0"),
        ({"posterior": DiagonalLaplace}, "exemplars are the centres of normal distributions"),
    ],
)
def test_mistakes(kwargs: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tiny(ExemplarVAE, **kwargs)
