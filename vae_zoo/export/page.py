"""A page of HTML with both networks in it, which explores the latents of a model without a connection or a server."""

from __future__ import annotations

import base64
import copy
import html
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae_zoo.distributions import mean_of
from vae_zoo.distributions.normal import is_normal
from vae_zoo.elbo import ELBOMixin, Generative
from vae_zoo.models import Autoencoder
from vae_zoo.nn import ConvDecoder, ConvEncoder, Dense, GatedDense
from vae_zoo.nn.gated import GatedLinear
from vae_zoo.typing import Shape

MOST_BYTES = 15 * 2**20
"""Largest page."""

HALF = 5e-4
"""Largest difference of a pixel for which weights of the decoder are stored in half precision."""

HALF_LATENT = 5e-3
"""Largest difference of a latent for which weights of the encoder are stored in half precision."""

_HERE = Path(__file__).parent
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.GELU)
_IMAGES = (nn.ConvTranspose2d, nn.Conv2d)
_MEANS: dict[str, Callable[[Tensor], Tensor]] = {"identity": lambda mean: mean, "sigmoid": torch.sigmoid}


@torch.no_grad()
def explorer(model: Autoencoder, x: Tensor, y: Tensor | None = None, *, title: str = "", about: str = "") -> str:
    """A page with sliders for the latents, a map of those of examples, paths between them, samples and own pictures.

    Own pictures can be drawn or opened if the encoder is a :class:`~vae_zoo.nn.Dense`,
    :class:`~vae_zoo.nn.GatedDense` or :class:`~vae_zoo.nn.ConvEncoder` network whose first outputs are the posterior
    mean, and the page is not too large for it.

    Args:
        model: Model of grey or colour images with latents that are real vectors, whose decoder is a
            :class:`~vae_zoo.nn.Dense`, :class:`~vae_zoo.nn.GatedDense` or :class:`~vae_zoo.nn.ConvDecoder` network.
        x: Examples to store in the page, (N, C, H, W).
        y: Their classes, (N,).
        title: Title of the page; by default the name of the model.
        about: A line below the title.

    Returns:
        The text of the page.

    Raises:
        ValueError: If the model is of another kind, or the page would be too large.
    """
    model = model.cpu().eval()
    if why := refusal(model):
        raise ValueError(why)
    z = model.embed(x.cpu())
    page = {"decoder": _decoder(model, z), "mean": _mean(model, z[:4])} | _latents(model, x.cpu(), z) | _prior(model)
    page |= {"shape": list(model.shape), "dims": z.shape[1]}
    page |= {"examples": _coded(x.mul(255).round().clamp(0, 255).to(torch.uint8).numpy())}
    if y is not None and y.ndim == 1 and not y.is_floating_point() and int(y.min()) >= 0:
        page |= {"labels": y.tolist(), "names": [str(k) for k in range(int(y.max()) + 1)]}
    text = _written({**page, "encoder": _encoder(model, x.cpu(), z)}, title or type(model).__name__, about)
    if len(text.encode()) > MOST_BYTES:
        text = _written({**page, "encoder": None}, title or type(model).__name__, about)
    if (size := len(text.encode())) > MOST_BYTES:
        raise ValueError(
            f"the page would be of {size / 2**20:.1f} MiB, and at most {MOST_BYTES >> 20} are written: store fewer "
            "examples with --num, or take a smaller decoder."
        )
    return text


def _written(page: dict[str, Any], title: str, about: str) -> str:
    text = (_HERE / "explorer.html").read_text(encoding="utf-8")
    parts = {"TITLE": html.escape(title), "ABOUT": html.escape(about)}
    parts |= {"SCRIPT": (_HERE / "explorer.js").read_text(encoding="utf-8")}
    parts |= {"PAGE": json.dumps(page, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")}
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


@torch.no_grad()
def refusal(model: Autoencoder) -> str:
    """Why there is no page of a model in evaluation mode, in one line; empty if there is."""
    name, shape = type(model).__name__, tuple(model.shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        return f"the page shows grey and colour images, and {name} is of examples of shape {shape}."
    if getattr(model, "num_classes", None) or getattr(model, "condition_sizes", None):
        return f"the decoder of {name} needs labels, and that of the page takes latents alone: take a VAE."
    if not model.continuous or len(model.latent_shape) != 1:
        return f"{name} has latents between which there is no path: take a model with latents that are real vectors."
    if not _of_reals(model):
        return f"{name} has latents on a curved or bounded space, and the page takes real vectors: take a VAE."
    kind = type(model.decoder).__name__
    if _layers(model.decoder) is None:
        return f"the page decodes with Dense, GatedDense and ConvDecoder networks, and {name} has a {kind} here."
    z = torch.randn(4, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    if tuple(model.decoder_shapes[0]) != tuple(model.latent_shape) or _mean(model, z) is None:
        what = f"the mean of {type(model.likelihood).__name__} is not its first output"
        return f"{what}, or {name} decodes with more than its decoder: take Bernoulli or SharedNormal, and a VAE."
    return ""


def _of_reals(model: Autoencoder) -> bool:
    from torch.distributions import constraints

    from vae_zoo.distributions import supports

    return supports.core(supports.support_of(model.posterior.at_zeros())) is constraints.real


def _mean(model: Autoencoder, z: Tensor) -> str | None:
    """Which function of the decoder's first outputs the mean of p(x|z) is; None if another."""
    raw = model.decoder(z).reshape(len(z), -1)[:, : math.prod(model.shape)]
    mean = mean_of(model.decode(z), z.device).reshape(len(z), -1)
    return next((name for name, f in _MEANS.items() if torch.allclose(f(raw), mean, atol=1e-5)), None)


def _layers(network: nn.Module) -> list[nn.Module] | None:
    """The layers of a network that the page knows; None if there is another."""
    if type(network).forward not in (Dense.forward, GatedDense.forward, ConvDecoder.forward, ConvEncoder.forward):
        return None
    found: Any = network.layers
    for layer in found:
        plain = isinstance(layer, (nn.Linear, GatedLinear, nn.Flatten, nn.Unflatten, *_ACTIVATIONS))
        exact = getattr(layer, "approximate", "none") == "none" and getattr(layer, "beta", 1) == 1
        exact = exact and getattr(layer, "alpha", 1) == 1
        simple = isinstance(layer, _IMAGES) and layer.groups == 1 and set(layer.dilation) == {1}
        simple = simple and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        if not (plain and exact) and not simple:
            return None
    return list(found)


def _decoder(model: Autoencoder, z: Tensor) -> dict[str, Any]:
    """The decoder, in half precision if pixels hardly change by it."""
    of = _MEANS[_mean(model, z[:4]) or "identity"]
    num = math.prod(model.shape)
    rows = torch.cat([z[:256], 3 * torch.randn(64, z.shape[1], generator=torch.Generator().manual_seed(0))])
    gap = _difference(model.decoder, rows, lambda raw: of(raw.reshape(len(rows), -1)[:, :num]))
    return _network(model.decoder, (z.shape[1],), half=gap <= HALF)


def _encoder(model: Autoencoder, x: Tensor, z: Tensor) -> dict[str, Any] | None:
    """The encoder, in half precision if latents hardly change by it; None if the page cannot encode as it does."""
    if _layers(model.encoder) is None or tuple(model.encoder_shapes[0]) != tuple(model.shape):
        return None

    def mean(raw: Tensor) -> Tensor:
        return raw.reshape(len(raw), -1)[:, : z.shape[1]]

    if not torch.allclose(mean(model.encoder(x)), z, atol=1e-5):
        return None
    return _network(model.encoder, model.shape, half=_difference(model.encoder, x, mean) <= HALF_LATENT)


def _network(network: nn.Module, shape: Shape, *, half: bool) -> dict[str, Any]:
    """Layers of a network of inputs of a shape, and their weights."""
    weights: list[np.ndarray] = []
    steps: list[dict[str, Any]] = []

    def place(tensor: Tensor | None) -> int:
        if tensor is None:
            return -1
        weights.append(tensor.detach().float().numpy().ravel())
        return sum(len(part) for part in weights[:-1])

    def placed(layer: Any) -> dict[str, Any]:
        size = {"out": layer.out_features} if isinstance(layer, nn.Linear) else {}
        return {"weight": place(layer.weight), "bias": place(layer.bias), **size}

    for layer in _layers(network) or []:
        before, shape = shape, tuple(layer(torch.zeros(1, *shape)).shape[1:])
        if isinstance(layer, nn.Linear):
            steps.append({"type": "linear", **placed(layer)})
        elif isinstance(layer, GatedLinear):
            steps.append({"type": "gated", "value": placed(layer.value), "gate": placed(layer.gate)})
        elif isinstance(layer, _IMAGES):
            kind = "transposed" if isinstance(layer, nn.ConvTranspose2d) else "convolution"
            sizes = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            steps.append({"type": kind, "in": before, "out": shape, **sizes, **placed(layer)})
        elif isinstance(layer, nn.LeakyReLU):
            steps.append({"type": "LeakyReLU", "slope": layer.negative_slope})
        elif not isinstance(layer, (nn.Flatten, nn.Unflatten)):
            steps.append({"type": type(layer).__name__})
    kind = "float16" if half else "float32"
    return {"layers": steps, "weights": _coded(np.concatenate(weights).astype(kind)), "kind": kind}


def _difference(network: nn.Module, x: Tensor, of: Callable[[Tensor], Tensor]) -> float:
    """Largest difference of what is made of a network's outputs when its weights are rounded to half precision."""
    rounded = copy.deepcopy(network).half().float()
    if not all(bool(p.isfinite().all()) for p in rounded.parameters()):
        return math.inf
    return (of(network(x)) - of(rounded(x))).abs().max().item()


def _latents(model: Autoencoder, x: Tensor, z: Tensor) -> dict[str, Any]:
    """Latents of the examples, their range and order, and the axes of the map."""
    centre = z.mean(0)
    rates = None
    if isinstance(model, ELBOMixin):
        found = model.elbo(x, None).rates
        rates = found.mean(0) if found is not None and found.shape[1] == z.shape[1] else None
    order = (z.var(0, correction=0) if rates is None else rates).argsort(descending=True)
    axes = torch.linalg.svd(z - centre, full_matrices=False)[2][:2]
    axes = torch.cat([axes, axes.new_zeros(2 - len(axes), z.shape[1])])
    reach = 3.0 if rates is not None else 0.0
    return {
        "latents": _coded(z.float().numpy()),
        "low": z.amin(0).clamp(max=-reach).tolist(),
        "high": z.amax(0).clamp(min=reach).tolist(),
        "centre": centre.tolist(),
        "order": order.tolist(),
        "rates": None if rates is None else rates.tolist(),
        "axes": axes.tolist(),
    }


def _prior(model: Autoencoder) -> dict[str, Any]:
    """Means and standard deviations of the prior, where it is a normal one with independent dimensions."""
    p: Any = model.prior() if isinstance(model, Generative) else None
    if p is None or not is_normal(p):
        return {"prior": None}
    return {"prior": {"loc": p.base_dist.loc.flatten().tolist(), "scale": p.base_dist.scale.flatten().tolist()}}


def _coded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()).decode()
