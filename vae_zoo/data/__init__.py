"""Data modules, one family of data sets a file; they know no model."""

from vae_zoo.data.arrays import Arrays
from vae_zoo.data.base import DataModule
from vae_zoo.data.digits import Digits
from vae_zoo.data.dsprites import DSprites
from vae_zoo.data.frey_faces import FreyFaces
from vae_zoo.data.image_folder import ImageFolder
from vae_zoo.data.images import Images
from vae_zoo.data.loader import TensorLoader
from vae_zoo.data.mapped import Mapped
from vae_zoo.data.mnist import MNIST, FashionMNIST
from vae_zoo.data.shards import write_shards
from vae_zoo.data.splits import Split
from vae_zoo.data.sprites import Sprites
from vae_zoo.data.stream import Stream
from vae_zoo.data.workers import WorkerLoader

__all__ = [
    "MNIST",
    "Arrays",
    "DSprites",
    "DataModule",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "ImageFolder",
    "Images",
    "Mapped",
    "Split",
    "Sprites",
    "Stream",
    "TensorLoader",
    "WorkerLoader",
    "write_shards",
]
