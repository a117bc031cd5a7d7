"""Feature extractors for metrics of samples, with names for the metrics."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_zoo.system.tensors import read_tensors
from vae_zoo.typing import Shape


class DataClassifier(nn.Module):
    """A small classifier trained on the data set; the features are its last hidden layer.

    A substitute where Inception is not available or not suitable, for instance for small grey images. Metrics with it
    have its name and that of the data, and cannot be compared with others.

    Args:
        shape: Shape of one example, (C, H, W) or (D,).
        num_features: Number of features.
        num_steps: Steps of training.
        batch_size: Examples in a batch.
        seed: Seed of weights and batches.

    Raises:
        ValueError: If a count is less than 1.
    """

    def __init__(
        self, shape: Shape, *, num_features: int = 64, num_steps: int = 500, batch_size: int = 128, seed: int = 0
    ) -> None:
        super().__init__()
        if min(num_features, num_steps, batch_size) < 1:
            given = f"{num_features}, {num_steps} and {batch_size}"
            raise ValueError(f"num_features, num_steps and batch_size must be at least 1, got {given}.")
        self.num_features, self.num_steps, self.batch_size, self.seed = num_features, num_steps, batch_size, seed
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if len(shape) == 3:
                layers = [
                    nn.Conv2d(shape[0], 32, 3, stride=2, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(32, 64, 3, stride=2, padding=1),
                ]
                size = 64 * -(-shape[1] // 4) * -(-shape[2] // 4)
                self.body = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(size, num_features), nn.ReLU())
            else:
                size = int(torch.Size(shape).numel())
                self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, num_features))
                self.body.append(nn.ReLU())
        self.head: nn.Linear | None = None

    @staticmethod
    def label(data: str) -> str:
        """Label in the names of metrics that use these features."""
        return f"classifier of {data}"

    def fit(self, x: Tensor, y: Tensor | None) -> DataClassifier:
        """Train on examples (N, \\*shape), float or uint8 images, and labels (N,); those of −1 are left out.

        Raises:
            ValueError: If there are no labels, or several of each example.
        """
        if y is None or y.ndim != 1 or not bool((y >= 0).any()):
            wrong = "labels" if y is None or y.ndim == 1 else "one label for each example, and these have several"
            raise ValueError(f"DataClassifier needs data with {wrong}: choose another extractor.")
        x, y = x[y >= 0], y[y >= 0]
        device = next(self.parameters()).device
        generator = torch.Generator().manual_seed(self.seed)
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.head = nn.Linear(self.num_features, int(y.max()) + 1).to(device)
            optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
            for _ in range(self.num_steps):
                rows = torch.randint(len(x), (self.batch_size,), generator=generator)
                loss = F.cross_entropy(self.head(self(x[rows].to(device))), y[rows].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.requires_grad_(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, num_features) of examples (B, \\*shape)."""
        return self.body(x.float() / 255 if x.dtype == torch.uint8 else x)

    @torch.no_grad()
    def accuracy(self, x: Tensor, y: Tensor) -> Tensor:
        """Accuracy of the classifier, as a measure of the quality of its features."""
        if self.head is None:
            raise ValueError("DataClassifier has no accuracy before it is fitted.")
        return (self.head(self(x)).argmax(1) == y).float().mean()


class InceptionFeatures(nn.Module):
    """The 2048 features of the Inception network used for published values of FID.

    Grey images are copied to its three channels. It needs torch-fidelity and the file of weights that
    :meth:`download` fetches. The file is read as tensors without executing anything; nothing is downloaded implicitly.

    References:
        | Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016)
        | https://arxiv.org/abs/1512.00567

    Args:
        shape: Shape of one image, (1, H, W) or (3, H, W).
        weights_path: File with the weights; None for the downloaded one.

    Raises:
        ValueError: If shape is not that of an image with 1 or 3 channels, or the file has other content.
        ImportError: If torch-fidelity is not installed.
        FileNotFoundError: If the file does not exist.
    """

    num_features = 2048

    def __init__(self, shape: Shape, *, weights_path: str | None = None) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(f"Inception needs images with 1 or 3 channels, got examples of shape {tuple(shape)}.")
        _fidelity()
        from torchmetrics.image.fid import NoTrainInceptionV3

        path = self.weights_file() if weights_path is None else Path(weights_path)
        with TemporaryDirectory() as folder:
            # The constructor of this network would unpickle any file, and download one. It gets a copy of the tensors.
            copy = Path(folder) / "weights.pth"
            torch.save(_tensors(path), copy)
            try:
                self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(copy))
            except RuntimeError as error:
                raise ValueError(f"{path} holds the weights of another network than Inception.") from error

    @staticmethod
    def weights_file() -> Path:
        """Path of the downloaded weights, in torch's cache."""
        return Path(torch.hub.get_dir()) / "checkpoints" / _fidelity().URL_INCEPTION_V3.rpartition("/")[2]

    @classmethod
    def download(cls) -> Path:
        """Download the weights, 91 MB, unless they exist, and verify their hash.

        Returns:
            The file.
        """
        path, url = cls.weights_file(), _fidelity().URL_INCEPTION_V3
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
        return path

    @staticmethod
    def label(data: str) -> str:
        """Label in the names of metrics that use these features."""
        del data
        return "Inception"

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, 2048) of images (B, C, H, W) in [0, 1]."""
        x = (x.clamp(0, 1) * 255).round().to(torch.uint8)
        return self.network(x.expand(-1, 3, -1, -1)).flatten(1)


def _fidelity() -> Any:
    """The module that knows the network, and where its weights are published."""
    if find_spec("torch_fidelity") is None:
        raise ImportError("Inception needs torch-fidelity: pip install 'vae_zoo[metrics]', or choose DataClassifier.")
    import torch_fidelity.feature_extractor_inceptionv3 as network

    return network


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"Inception's weights are not at {path}: fetch them once by InceptionFeatures.download(), give "
            "weights_path, or choose DataClassifier."
        )
    return read_tensors(path, "Inception")
