"""Dense networks, for examples of any shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from vae_zoo.typing import Shape


class Dense(nn.Module):
    """Flatten, dense layers, reshape: an encoder or decoder for any shapes.

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers, from input to output; without any, the network is linear.
        activation: Class of the activation between the layers.

    Raises:
        ValueError: If a width is less than 1.
    """

    flattens = True

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        hidden: Sequence[int] = (512, 512),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden widths must be at least 1, got {list(hidden)}.")
        self.out_shape = tuple(out_shape)
        widths = [math.prod(in_shape), *hidden, math.prod(out_shape)]
        layers: list[nn.Module] = [nn.Flatten()]
        for i in range(len(widths) - 1):
            layers += [activation()] * (i > 0) + [nn.Linear(widths[i], widths[i + 1])]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(x).unflatten(-1, self.out_shape)


class LogDense(Dense):
    r"""Dense layers on logarithms of the inputs: an encoder of counts, the largest of which would drown the others.

    .. math:: x_i \mapsto \mathrm{sign}(x_i) \log(1 + |x_i|)

    References:
        | Deep Generative Modeling for Single-Cell Transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers; by default those of scVI.
        activation: Class of the activation between the layers.

    Raises:
        ValueError: If a width is less than 1.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        hidden: Sequence[int] = (128,),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(in_shape, out_shape, hidden=hidden, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sign() * x.abs().log1p())


class CountDecoder(Dense):
    """Dense layers with the sizes of the decoder of scVI.

    References:
        | Deep Generative Modeling for Single-Cell Transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers.
        activation: Class of the activation between the layers.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        hidden: Sequence[int] = (128,),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(in_shape, out_shape, hidden=hidden, activation=activation)


class Discriminator(Dense):
    """Dense layers with the sizes of the discriminator of FactorVAE.

    References:
        | Disentangling by Factorising (Kim and Mnih, 2018)
        | https://arxiv.org/abs/1802.05983

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers.
        activation: Class of the activation between the layers.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        hidden: Sequence[int] = (1000,) * 6,
        activation: Callable[[], nn.Module] = nn.LeakyReLU,
    ) -> None:
        super().__init__(in_shape, out_shape, hidden=hidden, activation=activation)


class Narrow(Dense):
    """Dense layers with the sizes of TVAE, for rows of tables.

    References:
        | Modeling Tabular Data using Conditional GAN (Xu et al., 2019)
        | https://arxiv.org/abs/1907.00503

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers.
        activation: Class of the activation between the layers.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(in_shape, out_shape, hidden=hidden, activation=activation)
