from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from short import few
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vae_zoo.models import VAE, VAEGAN
from vae_zoo.nn import ResidualDecoder, ResidualEncoder, ResizeConv, ShuffleConv, frozen
from vae_zoo.nn.halving import halved
from vae_zoo.nn.pictures.residual import SIZES, Downsample, SelfAttention, SizeName

TINY = {"width": 8, "multipliers": (1, 2), "num_blocks": 1}
SIDES = [(8, 8), (9, 13), (33, 20), (1, 12), (40,), (4, 6, 5)]


@pytest.mark.parametrize("upsampling", [ResizeConv, ShuffleConv])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", SIDES)
def test_shapes(sides: tuple[int, ...], channels: int, upsampling: type) -> None:
    example, grid = (channels, *sides), (4, *halved(halved(sides)))
    for latent in (grid, (5,)):
        encoder = ResidualEncoder(example, (2, *latent), **TINY)
        given = {**TINY, "upsampling": upsampling, "num_sides": len(sides)}
        decoder = ResidualDecoder(latent, (2, *example), **given)
        assert encoder(torch.rand(3, *example)).shape == (3, 2, *latent)
        assert decoder(torch.rand(3, *latent)).shape == (3, 2, *example)
        assert encoder(torch.rand(0, *example)).shape == (0, 2, *latent)


@pytest.mark.parametrize("latent", [(4, 3, 2), (5,)])
@pytest.mark.parametrize("upsampling", [ResizeConv, ShuffleConv])
def test_every_parameter_and_every_pixel_counts(latent: tuple[int, ...], upsampling: type) -> None:
    torch.manual_seed(0)
    levels: dict[str, object] = {**TINY, "attention_levels": [0, 1]}
    encoder = ResidualEncoder((3, 13, 9), (2, *latent), **levels)
    decoder = ResidualDecoder(latent, (3, 13, 9), **levels, upsampling=upsampling)
    x = torch.randn(2, 3, 13, 9, requires_grad=True)
    decoder(encoder(x)[:, 0]).square().sum().backward()
    assert (x.grad != 0).all()
    unmoved = [
        name for part in (encoder, decoder) for name, p in part.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert unmoved == []
    first, second = decoder(torch.randn(2, *latent))
    assert (first != second).all()


def test_named_sizes_and_what_replaces_parts_of_them() -> None:
    with torch.device("meta"):
        for name, plan in SIZES.items():
            encoder = ResidualEncoder((3, 64, 64), (2, 4, 8, 8), size=name)
            stated = {"width": plan.width, "multipliers": plan.multipliers, "num_blocks": plan.num_blocks}
            assert _count(encoder) == _count(ResidualEncoder((3, 64, 64), (2, 4, 8, 8), size="small", **stated))
        more = ResidualEncoder((3, 64, 64), (2, 4, 8, 8), size="small", num_blocks=2)
        assert _count(more) > _count(ResidualEncoder((3, 64, 64), (2, 4, 8, 8), size="small"))


def test_the_large_size_is_that_of_latent_diffusion() -> None:
    """Its published autoencoder of factor 8 has 83,653,863 parameters."""
    with torch.device("meta"):
        encoder = ResidualEncoder((3, 256, 256), (2, 4, 32, 32), size="large")
        decoder = ResidualDecoder((4, 32, 32), (3, 256, 256), size="large")
    assert _count(encoder) + _count(decoder) == 83_653_863


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", few(list(SIZES), 1))
def test_the_table_of_the_documentation(size: SizeName) -> None:
    text = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith(f"| `{size}`")]
    assert shown == [_row(size, factor) for factor in (4, 8, 16)]


def _row(name: SizeName, factor: int) -> str:
    plan, small = SIZES[name], 64 // factor
    with torch.device("meta"):
        encoder = ResidualEncoder((3, 64, 64), (2, 4, small, small), size=name)
        decoder = ResidualDecoder((4, small, small), (3, 64, 64), size=name)
        costs = []
        for network, shape in ((encoder, (1, 3, 64, 64)), (decoder, (1, 4, small, small))):
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(shape))
            costs.append(counter.get_total_flops() / 2e9)
    levels = round(math.log2(factor)) + 1
    widths = [plan.width * plan.multipliers[min(n, len(plan.multipliers) - 1)] for n in range(levels)]
    millions = [f"{_count(part) / 1e6:.1f}" for part in (encoder, decoder)]
    return f"| `{name}` | f{factor} | {', '.join(map(str, widths))} | {' + '.join(millions)} | {sum(costs):.1f} |"


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_checkpointing_gives_the_same_numbers() -> None:
    found = {}
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = ResidualEncoder((1, 8, 8), (4, 2, 2), **TINY, checkpointing=checkpointing)
        decoder = ResidualDecoder((4, 2, 2), (1, 8, 8), **TINY, checkpointing=checkpointing)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            loss = decoder(encoder(torch.rand(5, 1, 8, 8))).square().sum()
        loss.backward()
        found[checkpointing] = [loss.detach(), *(p.grad for part in (encoder, decoder) for p in part.parameters())]
        found[f"kept {checkpointing}"] = sum(kept)
    assert all(torch.equal(a, b) for a, b in zip(found[False], found[True], strict=True))
    assert found["kept True"] < 0.5 * found["kept False"]


def test_checkpointing_of_weights_held_fixed() -> None:
    """The backward pass computes blocks again, when the weights of the module are no longer the fixed ones."""
    decoder = ResidualDecoder((4, 2, 2), (1, 8, 8), **TINY, checkpointing=True)
    z = torch.randn(2, 4, 2, 2, requires_grad=True)
    frozen(decoder)(z).sum().backward()
    assert z.grad is not None
    assert all(p.grad is None for p in decoder.parameters())
    networks = {
        "encoder": partial(ResidualEncoder, **TINY, checkpointing=True),
        "decoder": partial(ResidualDecoder, **TINY, checkpointing=True),
    }
    model = VAEGAN(shape=(1, 8, 8), **networks)
    model.losses(torch.rand(4, 1, 8, 8))["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_channels_last_gives_the_same_numbers() -> None:
    found = []
    for last in (False, True):
        torch.manual_seed(0)
        model = VAE(
            shape=(3, 16, 16),
            encoder=partial(ResidualEncoder, **TINY),
            decoder=partial(ResidualDecoder, **TINY),
            channels_last=last,
        )
        formats = [p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters() if p.ndim == 4]
        assert all(formats) == last
        torch.manual_seed(1)
        loss = model.losses(torch.rand(4, 3, 16, 16))["loss"]
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_examples_of_a_batch_do_not_depend_on_each_other() -> None:
    encoder, x = ResidualEncoder((1, 8, 8), (4, 2, 2), **TINY), torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(encoder(x)[:1], encoder(x[:1]))


def test_attention_against_its_formula() -> None:
    layer, x = SelfAttention(6, num_groups=2), torch.randn(2, 6, 3, 4)
    rows = torch.nn.functional.group_norm(x, 2, layer.norm.weight, layer.norm.bias, 1e-6).flatten(2).transpose(1, 2)
    weights = torch.softmax(layer.query(rows) @ layer.key(rows).transpose(1, 2) / 6**0.5, -1)
    wanted = x + layer.out(weights @ layer.value(rows)).transpose(1, 2).reshape(2, 6, 3, 4)
    torch.testing.assert_close(layer(x), wanted)


def test_attention_is_where_it_was_asked_for() -> None:
    def levels(**given: object) -> list[int]:
        encoder = ResidualEncoder((1, 16, 16), (4, 4, 4), **TINY, **given)
        return [sum(isinstance(layer, SelfAttention) for layer in part) for part in (*encoder.levels, encoder.middle)]

    assert levels() == [0, 0, 0, 1]
    assert levels(attention=False) == [0, 0, 0, 0]
    assert levels(attention_levels=[1, 2]) == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="attention_levels must be from 0 to 2, the smallest level, got 3"):
        levels(attention_levels=[3])


def test_shuffling_against_torch() -> None:
    layer, x = ShuffleConv(3, (2, 4), (4, 8)), torch.randn(2, 3, 2, 4)
    assert torch.equal(layer(x), nn.PixelShuffle(2)(layer.conv(x)))


def test_sides_of_one_stay() -> None:
    assert Downsample(2, (1, 7), (1, 3))(torch.rand(2, 2, 1, 7)).shape == (2, 2, 1, 3)
    for up in (ResizeConv, ShuffleConv):
        assert up(2, (1, 3), (1, 7))(torch.rand(2, 2, 1, 3)).shape == (2, 2, 1, 7)


@pytest.mark.parametrize("width", [8, 32, 36, 64, 128])
def test_no_group_is_a_single_channel(width: int) -> None:
    """Each would lose its mean, and with it the brightness of a picture."""
    with torch.device("meta"):
        encoder = ResidualEncoder((3, 8, 8), (4, 2, 2), width=width)
    norms = [layer for layer in encoder.modules() if isinstance(layer, nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {encoder.num_groups}
    assert min(norm.num_channels // norm.num_groups for norm in norms) >= 4


def test_brightness_survives() -> None:
    torch.manual_seed(0)
    encoder = ResidualEncoder((1, 8, 8), (4, 2, 2), **TINY)
    dark, bright = encoder(torch.tensor([0.2, 0.8])[:, None, None, None].expand(-1, 1, 8, 8))
    assert (dark - bright).norm() > 0.05 * dark.norm()


@pytest.mark.parametrize("size", ["small", "base"])
def test_what_differs_in_the_input_differs_in_the_output(size: str) -> None:
    torch.manual_seed(0)
    x, z = torch.randn(20, 1, 8, 8), torch.randn(20, 4, 2, 2)
    with torch.no_grad():
        assert 0.05 < ResidualEncoder((1, 8, 8), (4, 2, 2), size=size)(x).var(0).mean() < 5
        assert 0.05 < ResidualDecoder((4, 2, 2), (1, 8, 8), size=size)(z).var(0).mean() < 5


def test_errors() -> None:
    def make(example: tuple[int, ...], latent: tuple[int, ...], **given: object) -> list[Tensor]:
        return [*ResidualEncoder(example, latent, **given).parameters()]

    with pytest.raises(ValueError, match=r"needs sequences \(C, L\), images .*, got shape \(784,\): use Dense"):
        make((784,), (4,))
    with pytest.raises(ValueError, match=r"one of \[\(8, 8\), \(4, 4\), \(2, 2\), \(1, 1\)\], got \(3, 3\)"):
        make((1, 8, 8), (4, 3, 3))
    with pytest.raises(ValueError, match=r"example halved so many times, .*, got \(0, 0\)"):
        make((1, 8, 8), (4, 0, 0))
    with pytest.raises(ValueError, match="size must be one of small, base, large, got 'huge'"):
        make((1, 8, 8), (4, 4, 4), size="huge")
    for bad in ({"width": 0}, {"multipliers": ()}, {"num_blocks": 0}):
        with pytest.raises(ValueError, match="width, multipliers and num_blocks must be at least 1, got"):
            make((1, 8, 8), (4, 4, 4), **bad)
    with pytest.raises(ValueError, match=r"num_sides 2 does not fit a shape of \(3, 8\): give 1"):
        ResidualDecoder((2,), (3, 8))
