"""Data modules; one file for each family of data sets. They are independent of models."""

from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.loader import TensorLoader
from vae_zoo.data.base.mapped import Mapped
from vae_zoo.data.base.sparse import Sparse
from vae_zoo.data.base.splits import Split
from vae_zoo.data.base.workers import WorkerLoader
from vae_zoo.data.datasets.arrays import Arrays
from vae_zoo.data.datasets.breast_cancer import BreastCancer
from vae_zoo.data.datasets.counts import Counts
from vae_zoo.data.datasets.digits import Digits
from vae_zoo.data.datasets.dsprites import DSprites
from vae_zoo.data.datasets.dungeon_tiles import DungeonTiles, write_dungeon_tiles
from vae_zoo.data.datasets.emoji_people import EmojiPeople
from vae_zoo.data.datasets.frey_faces import FreyFaces
from vae_zoo.data.datasets.image_folder import ImageFolder
from vae_zoo.data.datasets.images import Images
from vae_zoo.data.datasets.mnist import MNIST, FashionMNIST
from vae_zoo.data.datasets.pairs import Pairs
from vae_zoo.data.datasets.sprites import Sprites
from vae_zoo.data.datasets.table import Table
from vae_zoo.data.drawn.signals import Signals
from vae_zoo.data.drawn.solids import Solids
from vae_zoo.data.libraries.from_dataset import FromDataset, ItemSplits
from vae_zoo.data.libraries.hugging_face import HuggingFace
from vae_zoo.data.libraries.time_series import TimeSeries
from vae_zoo.data.libraries.torch_vision import TorchVision
from vae_zoo.data.streaming.shards import write_shards
from vae_zoo.data.streaming.stream import Stream
from vae_zoo.data.text.tokens import Tokens

__all__ = [
    "MNIST",
    "Arrays",
    "BreastCancer",
    "Counts",
    "DSprites",
    "DataModule",
    "Digits",
    "DungeonTiles",
    "EmojiPeople",
    "FashionMNIST",
    "FreyFaces",
    "FromDataset",
    "HuggingFace",
    "ImageFolder",
    "Images",
    "ItemSplits",
    "Mapped",
    "Pairs",
    "Signals",
    "Solids",
    "Sparse",
    "Split",
    "Sprites",
    "Stream",
    "Table",
    "TensorLoader",
    "TimeSeries",
    "Tokens",
    "TorchVision",
    "WorkerLoader",
    "write_dungeon_tiles",
    "write_shards",
]
