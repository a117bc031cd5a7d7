"""Application of networks to inputs with several batch dimensions."""

from __future__ import annotations

from torch import Tensor, nn

from vae_zoo.typing import Shape


def apply_batched(
    network: nn.Module, x: Tensor, event_dims: int = 1, *, gives: Shape | None = None, name: str = "network"
) -> Tensor:
    """Apply a network in the precision of its weights, which may be lower than that of densities and latents.

    Args:
        network: Module that maps (N, \\*in_shape) to (N, \\*out_shape).
        x: Inputs, (..., \\*in_shape).
        event_dims: Dimensions of in_shape.
        gives: Expected out_shape; not checked if not given.
        name: Name of the network in errors.

    Returns:
        (..., \\*out_shape).

    Raises:
        ValueError: If the output has another shape, which could broadcast to a plausible bound.
    """
    batch, event = x.shape[:-event_dims], x.shape[-event_dims:]
    rows = as_weights(x, network).reshape(-1, *event)
    out = network(rows)
    if gives is not None:
        check_output(out, len(rows), tuple(gives), name)
    return out.reshape(*batch, *out.shape[1:])


def as_weights(x: Tensor, network: nn.Module) -> Tensor:
    """A tensor in the precision of a network's weights."""
    weight = next(network.parameters(), None)
    return x if weight is None else x.to(weight.dtype)


def check_output(out: Tensor, num: int, gives: Shape, name: str) -> None:
    """Refuse the output of a network for a number of rows if it does not have the expected shape.

    Raises:
        ValueError: If it is no tensor, or of another shape.
    """
    wanted = f"{name} must give {_text('B', gives)}"
    if not isinstance(out, Tensor):
        raise ValueError(f"{wanted}, gave a {type(out).__name__}.")
    if tuple(out.shape[1:]) != gives or out.shape[0] != num:
        rows = out.shape[:1]
        came = _text("B" if rows and rows[0] == num else ", ".join(map(str, rows)), tuple(out.shape[1:]))
        raise ValueError(f"{wanted}, gave {came}{'' if rows and rows[0] == num else f' for B = {num}'}.")


def _text(first: str, shape: Shape) -> str:
    return f"({', '.join([first, *map(str, shape)])})"
