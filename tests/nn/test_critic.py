"""Discriminators whose inner layers compare examples."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vae_zoo.models import VAEGAN
from vae_zoo.nn import ConvCritic, Critic


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 47), (2, 40), (1, 8, 6, 7)])
def test_maps_are_features_whatever_the_sides(shape: tuple[int, ...]) -> None:
    critic, x = ConvCritic(shape, (1,), channels=(8, 16)), torch.rand(5, *shape)
    features, logits = critic(x)
    sides = [-(-side // 4) for side in shape[1:]]
    assert features.shape == (5, 16 * torch.Size(sides).numel())
    assert logits.shape == (5, 1)


def test_an_example_is_judged_without_the_others() -> None:
    critic, x = ConvCritic((1, 8, 8), (1,)), torch.rand(6, 1, 8, 8)
    for whole, alone in zip(critic(x), critic(x[2:3]), strict=True):
        torch.testing.assert_close(whole[2:3], alone)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"in_shape": (17,)}, r"examples with sides, \(C, \*sides\), got shape \(17,\)"),
        ({"channels": ()}, "channels and width must be at least 1, got \\[\\] and 128"),
        ({"width": 0}, "channels and width must be at least 1, got \\[32\\] and 0"),
    ],
)
def test_refuses(given: dict, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        ConvCritic(**{"in_shape": (1, 8, 8), "out_shape": (1,), **given})


def test_a_vae_gan_takes_the_one_for_its_examples() -> None:
    assert isinstance(VAEGAN(shape=(1, 8, 8)).discriminator, ConvCritic)
    assert isinstance(VAEGAN(shape=(17,)).discriminator, Critic)
    assert isinstance(VAEGAN(shape=(1, 8, 8), discriminator=partial(Critic, width=8)).discriminator, Critic)
