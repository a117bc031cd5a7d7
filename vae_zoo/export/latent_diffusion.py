"""The format of diffusers' AutoencoderKL, for latent diffusion."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.distributions import mean_of, stddev_of
from vae_zoo.models import Autoencoder
from vae_zoo.nn.pictures.residual import (
    Downsample,
    ResidualBlock,
    ResidualDecoder,
    ResidualEncoder,
    ResizeConv,
    SelfAttention,
)
from vae_zoo.system.extras import require

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"

_VERSION = "0.42.0"
"""The release of diffusers whose format this is."""

_BLOCK = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "shortcut": "conv_shortcut"}
_ATTENTION = {"norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}


def check(model: Autoencoder) -> None:
    """Refuse a model that the format cannot express.

    Raises:
        ValueError: With the reason.
    """
    encoder, decoder = model.encoder, model.decoder
    if not (isinstance(encoder, ResidualEncoder) and isinstance(decoder, ResidualDecoder)):
        raise _refusal(model, "it has other networks than ResidualEncoder and ResidualDecoder")
    if len(model.shape) != 3 or len(model.latent_shape) != 3:
        raise _refusal(model, "its examples must be images and its latents a grid of channels")
    if getattr(model, "num_classes", None) or getattr(model, "condition_sizes", None):
        raise _refusal(model, "it takes labels, for which the format has no place")
    factor = 2 ** (len(encoder.levels) - 1)
    if any(side % factor for side in model.shape[1:]):
        raise _refusal(model, f"the sides of images must be divisible by {factor}, got {model.shape[1:]}")
    plans = _plan(encoder, 0), _plan(decoder, 1)
    if plans[0] != plans[1]:
        raise _refusal(model, f"encoder and decoder differ in width, blocks or attention: {plans[0]} and {plans[1]}")
    if any(not isinstance(level[-1], (ResizeConv, nn.Identity)) for level in decoder.levels):  # type: ignore[index]
        raise _refusal(model, "its decoder must go up by ResizeConv")
    _check_families(model)


def convert(model: Autoencoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a model in the format.

    Args:
        model: A model with the two residual networks, a grid of independent normal latents and no conditions.

    Raises:
        ValueError: If the format cannot express the model, or its latents have not been measured.
    """
    check(model)
    if model.latent_scale is None:
        raise _refusal(model, "its latents have not been measured: set latent_scale to vae_zoo.evaluation.latent_scale")
    encoder: Any = model.encoder
    decoder: Any = model.decoder
    weights = {
        name: value.detach().cpu().float().clone().contiguous() for name, value in _renamed(encoder, decoder).items()
    }
    channels = model.latent_shape[0]
    for name in ("quant_conv.weight", "quant_conv.bias"):
        weights[name][channels:] *= 2  # log σ becomes log σ²
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        weights[name] = weights[name][: model.shape[0]].clone()  # the mean alone
    if sees_centred(model):
        weights["decoder.conv_out.weight"] *= 2
        weights["decoder.conv_out.bias"] = 2 * weights["decoder.conv_out.bias"] - 1
    height, width = model.shape[1:]
    widths, blocks, groups, middle, attention = _plan(encoder, 0)
    kinds = ["Attn" if level in attention else "" for level in range(len(widths))]
    config = {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": _VERSION,
        "act_fn": "silu",
        "block_out_channels": widths,
        "down_block_types": [f"{kind}DownEncoderBlock2D" for kind in kinds],
        "in_channels": model.shape[0],
        "latent_channels": channels,
        "layers_per_block": blocks,
        "mid_block_add_attention": middle,
        "norm_num_groups": groups,
        "out_channels": model.shape[0],
        "sample_size": height if height == width else [height, width],
        "scaling_factor": model.latent_scale.scale,
        "up_block_types": [f"{kind}UpDecoderBlock2D" for kind in reversed(kinds)],
    }
    return config, weights


def write(model: Autoencoder, folder: Path) -> Any:
    """Write a model, and read it back by diffusers.

    Raises:
        ValueError: If the format cannot express the model.
        ImportError: If diffusers is not installed.
    """
    from safetensors.torch import save_file

    diffusers = require("diffusers", "diffusion", "the format diffusers")
    config, weights = convert(model)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)
    how = {"local_files_only": True, "torch_dtype": torch.float32, "low_cpu_mem_usage": False}
    return diffusers.AutoencoderKL.from_pretrained(folder, **how).eval()


@torch.no_grad()
def sees_centred(model: Autoencoder) -> bool:
    """Whether the encoder is given images in [-1, 1], as diffusers does, instead of [0, 1]."""
    x = torch.linspace(0, 1, math.prod(model.shape)).reshape(1, *model.shape).to(model.device)
    shape = model.posterior.param_shape
    given = model.run_encoder(x).reshape(1, *shape)
    centred, plain = (model.encoder(value).reshape(1, *shape) for value in (2 * x - 1, x))
    return bool((given - centred).abs().max() < (given - plain).abs().max())


def _refusal(model: Autoencoder, why: str) -> ValueError:
    return ValueError(f"{type(model).__name__} cannot be written in the format diffusers: {why}.")


def _check_families(model: Autoencoder) -> None:
    """Refuse distributions whose mean and σ are not what the networks give, or exp of it."""
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(2, *model.posterior.param_shape, generator=generator).to(model.device)
    grid = model.latent_shape
    with torch.no_grad():
        if params.numel() == 4 * math.prod(grid):
            loc, log_scale = params.reshape(2, 2, *grid).unbind(1)
            q = model.posterior(params)
            mean, std = mean_of(q, params.device), stddev_of(q, params.device)
        if params.numel() != 4 * math.prod(grid) or not (_same(mean, loc) and _same(std, log_scale.exp())):
            raise _refusal(model, f"its posterior must be DiagonalNormal, got {type(model.posterior).__name__}")
        params = torch.randn(2, *model.likelihood.param_shape, generator=generator).to(model.device)
        found = mean_of(model.likelihood(params), params.device)
        channels = params.reshape(2, -1, *model.shape[1:])[:, : model.shape[0]]
    if not _same(found, channels):
        raise _refusal(
            model,
            f"the mean of {type(model.likelihood).__name__} is a nonlinear function of what the decoder gives, where "
            "the format ends with a convolution: choose a likelihood such as OptimalNormal or FixedNormal",
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5, rtol=1e-5)


def _plan(network: Any, further: int) -> tuple[list[int], int, int, bool, list[int]]:
    """Widths from example to latent, blocks, groups, and attention in the middle and at which levels."""
    levels: list[Any] = list(network.levels)[:: -1 if further else 1]
    blocks: list[list[Any]] = [[part for part in level if isinstance(part, ResidualBlock)] for level in levels]
    attention = [n for n, level in enumerate(levels) if any(isinstance(part, SelfAttention) for part in level)]
    middle = any(isinstance(part, SelfAttention) for part in network.middle)
    widths = [level[-1].conv2.out_channels for level in blocks]
    return widths, len(blocks[0]) - further, network.num_groups, middle, attention


def _renamed(encoder: ResidualEncoder, decoder: ResidualDecoder) -> dict[str, Tensor]:
    """All weights by their names in the format."""
    head: Any = encoder.head
    stem: Any = decoder.stem
    found = {
        **_layer("encoder.conv_in", encoder.stem),
        **_layer("encoder.conv_norm_out", encoder.norm),
        **_layer("encoder.conv_out", head[0]),
        **_layer("quant_conv", head[1]),
        **_layer("post_quant_conv", stem[0]),
        **_layer("decoder.conv_in", stem[1]),
        **_layer("decoder.conv_norm_out", decoder.norm),
        **_layer("decoder.conv_out", decoder.head),
    }
    for name, network, block, sampler in (
        ("encoder", encoder, "down_blocks", "downsamplers"),
        ("decoder", decoder, "up_blocks", "upsamplers"),
    ):
        parts = list(_numbered(f"{name}.mid_block", network.middle, sampler))
        for number, level in enumerate(network.levels):
            parts += _numbered(f"{name}.{block}.{number}", level, sampler)
        for path, part in parts:
            for own, theirs in _names(part).items():
                found |= _layer(f"{path}.{theirs}", getattr(part, own))
    return found


def _names(part: nn.Module) -> Mapping[str, str]:
    if isinstance(part, ResidualBlock):
        return _BLOCK
    return _ATTENTION if isinstance(part, SelfAttention) else {"conv": "conv"}


def _numbered(path: str, parts: Any, sampler: str) -> Iterator[tuple[str, nn.Module]]:
    """Blocks, attention and sampling of one level, each kind with numbers of its own."""
    counts = dict.fromkeys(("resnets", "attentions", sampler), 0)
    for part in parts:
        if isinstance(part, nn.Identity):
            continue
        attends = isinstance(part, SelfAttention)
        kind = "resnets" if isinstance(part, ResidualBlock) else "attentions" if attends else sampler
        if kind == sampler and not isinstance(part, (Downsample, ResizeConv)):
            continue
        yield f"{path}.{kind}.{counts[kind]}", part
        counts[kind] += 1


def _layer(path: str, layer: nn.Module) -> dict[str, Tensor]:
    return {f"{path}.{name}": value for name, value in layer.named_parameters()}
