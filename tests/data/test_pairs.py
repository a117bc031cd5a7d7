from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import fit
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from vae_zoo.data import Digits, Pairs, Sprites
from vae_zoo.data.datasets.pairs import Pairing
from vae_zoo.data.datasets.sprites import draw_sprites
from vae_zoo.models import AdaGVAE


def sprites(**kwargs: int) -> Sprites:
    return Sprites(**{"num_examples": 400, "image_size": 16, **kwargs})


def number(factors: Tensor) -> set[tuple[int, ...]]:
    return set(map(tuple, factors.tolist()))


@pytest.mark.parametrize("factors", [1, 2, 4])
def test_so_many_factors_differ(factors: int) -> None:
    pairing = Pairing(sprites(), factors)
    found = pairing.partners(torch.arange(300), 5)
    assert found.factors is not None
    differ = found.factors != pairing.own
    assert differ.sum(1).unique().tolist() == [factors]
    assert bool(differ.any(0).all())  # each of the factors, sometimes
    assert torch.equal(found.x, draw_sprites(found.factors, 16))  # type: ignore[arg-type]


def test_a_random_number_of_factors() -> None:
    pairing = Pairing(sprites(), None)
    found = pairing.partners(torch.arange(300), 5)
    assert (found.factors != pairing.own).sum(1).unique().tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]


def test_every_other_value_is_as_likely() -> None:
    pairing = Pairing(sprites(), 4)
    own = pairing.own.clone()
    partners = [pairing.partners(torch.arange(300), key).factors for key in range(40)]
    scales = torch.cat([f[:, 1] - own[:, 1] for f in partners]) % 6  # type: ignore[index]
    counts = torch.bincount(scales[scales > 0], minlength=6)[1:].double()
    assert (counts / counts.mean() - 1).abs().max() < 0.1


def test_no_partner_is_held_out() -> None:
    """Half of the combinations of a few values would be, if partners were drawn from all of them."""
    pairing = Pairing(sprites(), 1)
    partners = pairing.partners(torch.arange(300), 5).factors
    pairing.held_out = torch.tensor([0])
    again = Pairing(sprites(), 1)
    held = number(torch.cat([again.data.load(split).factors for split in ("val", "test")]))  # type: ignore[misc]
    again.held_out = torch.cat([again.held_out, _numbers(partners)])  # as if these were held out too
    assert not number(again.partners(torch.arange(300), 5).factors) & (held | number(partners))  # type: ignore[arg-type]


def _numbers(factors: Tensor | None) -> Tensor:
    from vae_zoo.data.datasets.pairs import _number

    assert factors is not None
    return _number(factors, torch.tensor([3, 6, 40, 32, 32]))


class TestBatches:
    def test_rows_of_a_pair_follow_each_other(self) -> None:
        data = Pairs(data=sprites(), batch_size=8)
        batch = next(iter(data.train_dataloader()))
        assert batch.x.shape == (16, 1, 16, 16)
        assert batch.x.dtype == torch.uint8
        assert torch.equal(batch.index[::2], batch.index[1::2])
        assert torch.equal(batch.x[::2], data.load("train").x[batch.index[::2]])
        assert (batch.x[::2] != batch.x[1::2]).flatten(1).any(1).float().mean() > 0.8
        assert len(data.train_dataloader()) == 38

    def test_the_same_at_every_resume_and_others_in_every_epoch(self) -> None:
        loader = Pairs(data=sprites(), batch_size=8).train_dataloader()
        first = [batch.x for batch in loader]
        loader.set_epoch(0)
        assert all(torch.equal(a, b.x) for a, b in zip(first, loader, strict=True))
        loader.set_epoch(1)
        partners = {b.index[0].item(): b.x[1] for b in loader}
        assert partners
        assert not torch.equal(torch.stack(list(partners.values())), torch.stack([x[1] for x in first]))

    def test_single_examples_in_evaluation(self) -> None:
        data, plain = Pairs(data=sprites()), sprites()
        for split in ("val", "test"):
            assert torch.equal(data.load(split).x, plain.load(split).x)  # type: ignore[arg-type]
            loader = getattr(data, f"{split}_dataloader")()
            assert next(iter(loader)).x.shape == (50, 1, 16, 16)
        assert (data.shape, data.num_train, data.num_classes) == (plain.shape, plain.num_train, plain.num_classes)

    def test_a_partner_does_not_give_away_a_hidden_label(self) -> None:
        data = Pairs(data=sprites(num_labels=30), batch_size=300)
        y = next(iter(data.train_dataloader())).y
        assert y is not None
        assert int((y >= 0).sum()) == 30
        assert bool((y[1::2] == -1).all())


class SaveAt(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_a_fit_resumes_bitwise(tmp_path: Path) -> None:
    """Within an epoch, whose partners are drawn again."""
    path, data = tmp_path / "seven.ckpt", {"data": Pairs(data=Sprites(num_examples=64, image_size=8), batch_size=10)}
    whole, _ = fit(tmp_path, AdaGVAE, **data, callbacks=[SaveAt(7, path)])
    resumed, trainer = fit(tmp_path, AdaGVAE, **data, ckpt_path=path)
    assert trainer.global_step == 10
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


class TestRefuses:
    @pytest.mark.parametrize("factors", [0, 5])
    def test_too_many_factors(self, factors: int) -> None:
        with pytest.raises(ValueError, match=rf"factors must lie in 1 \.\. 4, of the 5 of Sprites, got {factors}"):
            Pairs(data=sprites(), factors=factors)

    def test_data_without_factors(self) -> None:
        with pytest.raises(
            TypeError, match="Pairs needs data with known factors, such as Sprites or DSprites, got Dig"
        ):
            Pairs(data=Digits())

    def test_labels_of_its_own(self) -> None:
        with pytest.raises(ValueError, match="num_labels is an option of the data within Pairs: give it to Sprites"):
            Pairs(data=sprites(), num_labels=3)


def test_is_saved_with_what_it_wraps() -> None:
    inner = {"class_path": "vae_zoo.data.Sprites", "init_args": {"num_examples": 400, "image_size": 16}}
    assert Pairs(data=sprites(), factors=2).recorded()["init_args"] == {"data": inner, "factors": 2}
