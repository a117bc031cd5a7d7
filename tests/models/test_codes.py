"""Models of discrete codes: their quantizers, the bound over several codes of a place, and what they sample."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import fit, load_arrays, losses, small, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import FitCodePrior, PredictionWriter
from vae_zoo.models import (
    FSQVAE,
    HRQVAE,
    LFQVAE,
    VQGAN,
    VQVAE,
    VQVAE2,
    ConditionalVQVAE,
    GroupedVQVAE,
    ResidualVQVAE,
    RotationVQVAE,
    SimVQVAE,
)
from vae_zoo.nn import BSQ, FSQ, LFQ, Codebook, CodePrior, EMACodebook, GroupedQuantizer, ResidualQuantizer

PRIOR = partial(CodePrior, width=8, num_heads=2)
KWARGS = {"encoder": small, "decoder": small, "code_prior": PRIOR}
CASES: dict[type[VQVAE], dict[str, Any]] = {
    FSQVAE: {"levels": (2, 3), "latent_dim": 2},
    HRQVAE: {"num_codes": 3, "depth": 2},
    LFQVAE: {"latent_dim": 3},
    GroupedVQVAE: {"num_codes": 3},
    ResidualVQVAE: {"num_codes": 3, "depth": 2},
    RotationVQVAE: {"num_codes": 6},
    SimVQVAE: {"num_codes": 6},
    VQVAE2: {"num_codes": 3},
    ConditionalVQVAE: {"num_codes": 6},
}
every_model = pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.__name__)


def model_of(cls: type[VQVAE], **kwargs: Any) -> Any:
    torch.manual_seed(0)
    model = tiny(cls, **{**KWARGS, **CASES[cls], **kwargs})
    model.initialise(tiny_data().examples("train"))
    return model


def every_code(model: VQVAE) -> Tensor:
    """All that a grid of one place may be, (N, 1, 1, \\*code_shape)."""
    num, shape = model.codebook.num_codes, model.codes_shape
    places = int(np.prod(shape))
    return torch.cartesian_prod(*[torch.arange(num)] * places).reshape(-1, *shape)


@every_model
class TestEvery:
    def test_bound_is_below_the_evidence_of_all_codes(self, cls: type[VQVAE], images: Tensor) -> None:
        """One place: log p(x) is a sum over all values of all its codes."""
        model = model_of(cls, grid=(1, 1)).eval()
        every = every_code(model)
        c = torch.full((len(every),), 2)
        log_prior = model.log_prior(every, c)
        assert torch.logsumexp(log_prior, 0).item() == pytest.approx(0, abs=1e-5)
        log_px = model.decode(model.lookup(every)[:, None]).log_prob(images)  # (N, B)
        evidence = torch.logsumexp(log_px + log_prior[:, None], 0)
        values = model.losses(images, c[:1].expand(16))
        assert values["elbo"] < evidence.mean()
        torch.testing.assert_close(values["kl"], -model.log_prior(model.codes(images), c[:1].expand(16)).mean())
        e = model.lookup(model.codes(images))
        torch.testing.assert_close(values["reconstruction"], model.decode(e).log_prob(images).mean())
        torch.testing.assert_close(values["elbo"], values["reconstruction"] - values["kl"])

    def test_one_path_from_example_to_reconstruction(self, cls: type[VQVAE], images: Tensor) -> None:
        model = model_of(cls)
        codes = model.codes(images)
        assert codes.shape == (16, *model.codes_shape)
        e = model.lookup(codes)
        assert torch.equal(model.embed(images), e)
        assert torch.equal(model.reconstruct(images), model.decode(e).mean)
        torch.testing.assert_close(model.eval().quantise(images).z, e)
        assert torch.equal(model.predict_step(images, 0)["codes"], codes)

    def test_samples_are_of_codes_of_the_prior(self, cls: type[VQVAE]) -> None:
        model = model_of(cls)
        torch.manual_seed(3)
        x = model.sample(5)
        torch.manual_seed(3)
        codes = model.draw_codes(5, torch.arange(5) % 3)
        assert codes.shape == (5, *model.codes_shape)
        assert torch.equal(x, model.decode(model.lookup(codes)).mean)

    def test_the_prior_has_no_say_in_the_codes(self, cls: type[VQVAE], images: Tensor) -> None:
        model = model_of(cls)
        losses(model, images)["kl"].backward()
        with_gradient = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
        assert with_gradient == {"code_prior"} | ({"top_prior"} if cls is VQVAE2 else set())

    def test_perplexity_is_the_mean_over_codes_of_a_place(self, cls: type[VQVAE], images: Tensor) -> None:
        model = model_of(cls).eval()
        codes, num = model.codes(images), model.codebook.num_codes
        rows = [level.flatten() for level in model._levels(codes)] if cls is VQVAE2 else codes.reshape(16 * 4, -1).T
        parts = [row.bincount(minlength=num) / len(row) for row in rows]
        entropies = [torch.distributions.Categorical(part).entropy() for part in parts]
        values = losses(model, images)
        torch.testing.assert_close(values["perplexity"], torch.stack(entropies).exp().mean())
        assert values["used_codes"] == np.mean([len(row.unique()) for row in rows])

    def test_a_fit_then_the_prior_alone_then_codes_in_a_file(self, cls: type[VQVAE], tmp_path: Path) -> None:
        kept: dict[str, dict[str, Tensor]] = {}

        class Keep(FitCodePrior):
            def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
                kept[trainer.current_epoch] = {k: v.clone() for k, v in pl_module.state_dict().items()}

        kwargs = {**KWARGS, **CASES[cls]}
        callbacks = [Keep(num_epochs=1), PredictionWriter()]
        model, trainer = fit(tmp_path, cls, kwargs=kwargs, callbacks=callbacks, max_epochs=2)
        moved = {name for name, value in model.state_dict().items() if not torch.equal(value, kept[1][name])}
        assert moved
        assert all(name.startswith(("code_prior.", "top_prior.")) for name in moved)
        trainer.predict(model, tiny_data(), return_predictions=False)
        codes = load_arrays(tmp_path / "latents.npz")["codes"]
        np.testing.assert_array_equal(codes, model.codes(tiny_data().examples("test")))


def test_a_discriminator_rests_too_while_the_prior_is_fitted(tmp_path: Path) -> None:
    kept: dict[int, dict[str, Tensor]] = {}

    class Keep(FitCodePrior):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            kept[trainer.current_epoch] = {k: v.detach().clone() for k, v in pl_module.named_parameters()}

    kwargs = {"code_prior": PRIOR, "num_codes": 6, "discriminator_start": 0}
    model, _ = fit(tmp_path, VQGAN, kwargs=kwargs, callbacks=[Keep(num_epochs=1)], max_epochs=2)
    last = dict(model.named_parameters())
    for before, after, moving in ((kept[0], kept[1], {"encoder", "discriminator"}), (kept[1], last, {"code_prior"})):
        moved = {name.split(".")[0] for name, p in after.items() if not torch.equal(p, before[name])}
        assert moved >= moving
    assert moved == {"code_prior"}


def test_quantizers_of_each() -> None:
    def book(cls: type[VQVAE], **kwargs: Any) -> Any:
        return tiny(cls, **{**KWARGS, **CASES.get(cls, {}), **kwargs}).codebook

    assert isinstance(book(FSQVAE), FSQ)
    assert book(FSQVAE, levels=None, latent_dim=3).sizes == (8, 5, 5)
    assert type(book(LFQVAE)) is LFQ
    assert type(book(LFQVAE, spherical=True, gamma=2.0)) is BSQ
    assert book(LFQVAE, gamma=2.0, entropy_weight=0.3).gamma == 2
    residual = book(ResidualVQVAE, shared=True, dropout=0.3, codebook=Codebook)
    assert isinstance(residual, ResidualQuantizer)
    assert (residual.shared, residual.dropout, len(residual.books)) == (True, 0.3, 1)
    assert [type(b) for b in book(GroupedVQVAE, codebook=Codebook).books] == [Codebook] * 2
    assert book(RotationVQVAE).gradient == "rotation"
    assert type(book(RotationVQVAE, codebook=partial(Codebook, revive_after=3))) is Codebook


def test_two_go_together() -> None:
    """Groups of levels, levels of groups, both turned."""

    class Levels(GroupedVQVAE, ResidualVQVAE): ...

    class Groups(ResidualVQVAE, GroupedVQVAE): ...

    class Turned(RotationVQVAE, ResidualVQVAE): ...

    both = [tiny(cls, **KWARGS, num_codes=3, depth=2).codebook for cls in (Levels, Groups)]
    assert (type(both[0]), type(both[0].books[0])) == (ResidualQuantizer, GroupedQuantizer)
    assert (type(both[1]), type(both[1].books[0])) == (GroupedQuantizer, ResidualQuantizer)
    assert [b.code_shape for b in both] == [(2, 2), (2, 2)]
    assert tiny(Turned, **KWARGS).codebook.gradient == "rotation"
    assert type(tiny(Turned, **KWARGS).codebook.books[0]) is EMACodebook


def test_an_error_of_one_place_falls_with_depth(images: Tensor) -> None:
    """Untrained: more levels leave less of the latents over."""
    errors = []
    for depth in (1, 2, 4):
        model = model_of(ResidualVQVAE, depth=depth, num_codes=8)
        model.initialise(images)
        errors.append(model.eval().losses(images)["commitment"].item() / depth)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("cls", "kwargs", "error", "message"),
    [
        (FSQVAE, {"levels": [8, 5]}, ValueError, r"levels \[8, 5\] are 40 codes of 2 dimensions, got .* dim 4"),
        (FSQVAE, {"num_codes": 9}, TypeError, "FSQVAE takes no num_codes: it is the product of the levels"),
        (FSQVAE, {"codebook": Codebook}, TypeError, "FSQVAE takes no codebook: its codes are combinations of levels"),
        (FSQVAE, {"beta": 0.5}, TypeError, "FSQVAE takes no beta: rounding leaves nothing to commit to"),
        (LFQVAE, {"num_codes": 9}, TypeError, "LFQVAE takes no num_codes: it is 2 to the power of latent_dim"),
        (LFQVAE, {"gamma": -1.0}, ValueError, "entropy_weight and gamma must be at least 0, .* got 0.1, -1.0"),
        (GroupedVQVAE, {"groups": 9}, ValueError, r"groups must lie in 1 \.\. 4, the dimensions, got 9"),
        (ResidualVQVAE, {"codebook": LFQ, "num_codes": 16}, TypeError, "must have vectors that follow .* got LFQ"),
        (RotationVQVAE, {"codebook": LFQ}, TypeError, "LFQ.* unexpected keyword argument 'gradient'"),
        (VQVAE, {"codebook": LFQ}, ValueError, "4 signs are 16 codes, got num_codes 128"),
    ],
)
def test_bad_values(cls: type[VQVAE], kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        tiny(cls, **kwargs)
    assert "\n" not in str(raised.value)
