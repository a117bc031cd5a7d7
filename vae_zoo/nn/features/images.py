"""The base class of features of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class ImageFeatures(nn.Module, ABC):
    """Base of features of images in [0, 1] by a network that was trained on others.

    Grey images are repeated to three channels, small ones are enlarged, and all are normalised as the network was
    trained on.

    Args:
        mean: Mean of each channel, or of all, in the normalisation.
        std: Standard deviation of each channel, or of all, in the normalisation.
        min_side: Pixels that the smaller side of an image has at least, after it was enlarged.

    Raises:
        ValueError: If min_side is less than 1.
    """

    calibrated = False
    """Whether mean squared differences of features are a distance as they are, rather than relative to their size."""

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], min_side: int) -> None:
        super().__init__()
        if min_side < 1:
            raise ValueError(f"min_side must be at least 1, got {min_side}.")
        self.min_side = min_side
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, device=home()).reshape(-1, 1, 1), persistent=False)

    @abstractmethod
    def layers(self, x: Tensor) -> list[Tensor]:
        """Features of normalised images (N, 3, H, W): one tensor of each layer that counts."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of images (N, C, H, W) in [0, 1], C being 1 or 3.

        Raises:
            ValueError: If x are no such images.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            given = tuple(x.shape[1:])
            raise ValueError(f"{type(self).__name__} needs images with 1 or 3 channels, got examples of shape {given}.")
        height, width = x.shape[-2:]
        x = x.expand(-1, 3, -1, -1)
        if (side := min(height, width)) < self.min_side:
            size = [-(-s * self.min_side // side) for s in (height, width)]
            x = interpolate(x, size=size, mode="bilinear", align_corners=False)
        return self.layers((x - self.mean) / self.std)


def home() -> torch.device:
    """Where weights are read to: the default device, unless that holds no values."""
    device = torch.get_default_device()
    return torch.device("cpu") if device.type == "meta" else device


def load(module: nn.Module, state: dict[str, Tensor], file: object) -> None:
    """Give a module that was built on the meta device the tensors of its names.

    Raises:
        ValueError: If one is not there, or has another shape.
    """
    wanted = module.state_dict()
    counts = {name: torch.tensor(0) for name in wanted if name.endswith(".num_batches_tracked")}
    state = counts | state  # which older files leave out
    if bad := [name for name, value in wanted.items() if name not in state or state[name].shape != value.shape]:
        raise ValueError(f"{file} holds the weights of another network: {bad[0]} is not there or has another shape.")
    kinds = {True: torch.get_default_dtype(), False: torch.long}
    kept = {name: state[name].to(home(), kinds[state[name].is_floating_point()]) for name in wanted}
    module.load_state_dict(kept, assign=True)


def cached(url: str) -> Path:
    """Where the file of an address lies once it is downloaded, in torch's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def downloaded(url: str) -> Path:
    """Download a file of weights, unless it exists, and verify the hash in its name.

    Raises:
        OSError: If it cannot be downloaded.
    """
    path = cached(url)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
        except (OSError, RuntimeError) as error:
            why = str(error).partition("\n")[0]
            raise OSError(f"{url} cannot be downloaded ({why}): put the file at {path}.") from error
    return path
