"""The Frey faces, from their Matlab file."""

from __future__ import annotations

from typing import Any

import torch

from vae_zoo.data.base.paths import data_root
from vae_zoo.data.base.splits import Split, SplitName, split_indices
from vae_zoo.data.datasets.images import Images
from vae_zoo.security.limits import check_mat
from vae_zoo.typing import Shape

_HEIGHT, _WIDTH = 28, 20
_NUM_IMAGES, _NUM_VAL, _NUM_TEST = 1965, 200, 200
_MAX_BYTES = 16 * 2**20  # as doubles, the faces take half of that


class FreyFaces(Images):
    """Grey frames of 28x20 pixels from one film of a face: 1565 for training, 200 for validation and 200 for testing.

    References:
        | Nonlinear Dimensionality Reduction by Locally Linear Embedding (Roweis & Saul, 2000)
        | https://cs.nyu.edu/~roweis/data.html

    Args:
        root: Folder with ``FreyFace/frey_rawface.mat``; None for ``$VAE_ZOO_DATA``, else a folder in the user's cache.
        kwargs: Arguments of :class:`Images`.

    Raises:
        FileNotFoundError: When the data are read, if the file does not exist.
        ValueError: When the data are read, if the file does not contain the faces.
    """

    def __init__(self, *, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = data_root(root) / "FreyFace" / "frey_rawface.mat"

    @property
    def shape(self) -> Shape:
        return (1, _HEIGHT, _WIDTH)

    @property
    def num_train(self) -> int:
        return _NUM_IMAGES - _NUM_VAL - _NUM_TEST

    def dataset(self, split: SplitName) -> Split:
        from scipy.io import loadmat

        if not self.path.is_file():
            raise FileNotFoundError(
                f"There is no {self.path}: put frey_rawface.mat there, or set VAE_ZOO_DATA to a folder "
                "that has FreyFace/frey_rawface.mat."
            )
        check_mat(self.path, _MAX_BYTES)
        try:
            content = loadmat(self.path)
        except Exception as error:  # the reader of damaged files raises nearly anything
            raise ValueError(f"{self.path} is truncated or not a Matlab file.") from error
        if "ff" not in content:
            keys = ", ".join(sorted(key for key in content if not key.startswith("_"))) or "nothing"
            raise ValueError(f"{self.path} must hold the faces under the key ff, but it holds {keys}.")
        if content["ff"].dtype.kind not in "uif":
            raise ValueError(f"ff in {self.path} must hold numbers, got an array of {content['ff'].dtype}.")
        faces = torch.from_numpy(content["ff"])
        if tuple(faces.shape) != (_HEIGHT * _WIDTH, _NUM_IMAGES):
            raise ValueError(
                f"ff in {self.path} must be {_HEIGHT * _WIDTH} x {_NUM_IMAGES}, one face a column, "
                f"got {tuple(faces.shape)}."
            )
        index = split_indices(_NUM_IMAGES, num_val=_NUM_VAL, num_test=_NUM_TEST, seed=0)[split]
        return Split(faces.T[index].reshape(-1, 1, _HEIGHT, _WIDTH).to(torch.uint8), rows=index)
