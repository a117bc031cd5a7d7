"""Classes that a checkpoint or a configuration may name read files as plain data at most, and ask no server.

An allow-list of modules admits every class in them, also one whose constructor hands a path to somebody's loader.
Therefore the sources of all open modules are read here: a class with a parameter that reads like a file, an address or
a command, or with a constructor that reads, fetches or starts something, must be in a list below with what it does.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from helpers import tiny
from lightning.fabric.utilities.load import _lazy_load

import vae_zoo
from vae_zoo.metrics import InceptionFeatures
from vae_zoo.models import VAE
from vae_zoo.security import trust
from vae_zoo.security.untrusted import read_plainly

from .hostile import Call, planted

WORDS = """
    path paths dir dirpath dirname file files filename filepath folder root url uri location address host port
    endpoint download pretrained weights ckpt command cmd script executable token config io
"""
CALLS = """
    open load urlopen urlretrieve download_url_to_file load_state_dict_from_url load_file read_text read_bytes Popen
    run call check_output check_call system exec eval import_module __import__ get_filesystem connect start
    snapshot_download hf_hub_download from_pretrained loadtxt genfromtxt fromfile memmap locate import_object
    load_library jit_load hub compile_file
"""
STOCK = [f"lightning.{half}.strategies" for half in ("pytorch", "fabric")]
REVIEWED: dict[str, list[str]] = {
    "data, which read arrays, images and shards as numbers when they are used": [
        *(f"vae_zoo.data.datasets.{path}" for path in ("arrays.Arrays", "dsprites.DSprites", "frey_faces.FreyFaces")),
        *(f"vae_zoo.data.datasets.{path}" for path in ("image_folder.ImageFolder", "mnist.MNIST")),
        *(f"vae_zoo.data.datasets.{path}" for path in ("dungeon_tiles.DungeonTiles", "emoji_people.EmojiPeople")),
        "vae_zoo.data.streaming.stream.Stream",
        "vae_zoo.data.streaming.shards.StreamLoader",
    ],
    "data of other libraries, read as numbers when they are used; what is missing is downloaded by name": [
        "vae_zoo.data.libraries.torch_vision.TorchVision",
        "vae_zoo.data.libraries.torchvision_files.Known",
        "vae_zoo.data.libraries.hugging_face.HuggingFace",
    ],
    "reads numbers from a file, when it is indexed": ["vae_zoo.data.files.hdf5_files.HDF5Array"],
    "reads rows of numbers from the file of metrics of a run that goes on": ["vae_zoo.loggers.MetricsFile"],
    "abstract, and reads no file itself: its subclasses do": ["vae_zoo.data.base.file_splits.FileSplits"],
    "counts and tables, which are read as numbers and texts when they are used": [
        "vae_zoo.data.datasets.counts.Counts",
        "vae_zoo.data.datasets.table.Table",
        "vae_zoo.data.text.tokens.Tokens",
    ],
    "reads and writes rows of numbers in the folder of a run": [
        "vae_zoo.callbacks.predicting.rows.RowFiles",
        "vae_zoo.callbacks.predicting.rows.MergedRows",
    ],
    "has a word of the list in a name, and takes no path": [
        "vae_zoo.models.plain.vae.VAE",  # uses_weights: of importance
        "vae_zoo.evaluation.diagnosis.data.recommend.Recommendation",  # command: a text, which is printed
        "vae_zoo.evaluation.diagnosis.data.source.Source",  # path: a name; the function read_source reads it
        "vae_zoo.evaluation.diagnosis.models.examined.Examined",  # Module.eval
        "vae_zoo.distributions.families.Family",  # weights_valid
        "vae_zoo.evaluation.coding.bits_back.Codec",  # Module.eval
        "vae_zoo.evaluation.coding.files.Header",  # weights: a checksum
        "vae_zoo.data.datasets.pairs.Pairing",  # load(): of the data that it is given
        "vae_zoo.distributions.likelihoods.tallies.Total",  # location: of a log-normal distribution
        "vae_zoo.distributions.likelihoods.counts.Counted",  # total_location: as above
    ],
    "reads tensors alone, from files": [
        "vae_zoo.callbacks.start_from.StartFrom",
        "vae_zoo.metrics.extractors.InceptionFeatures",
        "vae_zoo.nn.features.backbone.BackboneEncoder",  # and of a checkpoint none: its weights are there
        "vae_zoo.nn.features.efficientnet.EfficientNetFeatures",
        "vae_zoo.nn.features.lpips.LPIPSFeatures",
        "vae_zoo.nn.features.vgg.VGGFeatures",
    ],
    "writes what a run gives, where the configuration says": [
        "vae_zoo.callbacks.checkpointing.saving.BestCheckpoint",
        "vae_zoo.callbacks.checkpointing.saving.LastCheckpoint",
        "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
        "lightning.pytorch.callbacks.on_exception_checkpoint.OnExceptionCheckpoint",
        *(f"lightning.pytorch.loggers.csv_logs.{name}" for name in ("ExperimentWriter", "CSVLogger")),
        *(f"lightning.fabric.loggers.{path}" for path in ("csv_logs.CSVLogger", "tensorboard.TensorBoardLogger")),
        "lightning.pytorch.loggers.tensorboard.TensorBoardLogger",
        *(f"lightning.pytorch.profilers.{path}" for path in ("advanced.AdvancedProfiler", "profiler.Profiler")),
        *(f"lightning.pytorch.profilers.{path}" for path in ("pytorch.PyTorchProfiler", "simple.SimpleProfiler")),
    ],
    "sends what a run gives where the configuration says, once the run has begun": [
        "lightning.pytorch.loggers.litlogger.LitLogger",
        "lightning.pytorch.loggers.mlflow.MLFlowLogger",
        "lightning.pytorch.loggers.wandb.WandbLogger",
    ],
    "takes an object, which has to be open itself": [
        "lightning.pytorch.plugins.io.async_plugin.AsyncCheckpointIO",
        *(f"{stock}.{path}" for stock in STOCK for path in ("ddp.DDPStrategy", "parallel.ParallelStrategy")),
        *(f"{stock}.{path}" for stock in STOCK for path in ("strategy.Strategy", "xla.XLAStrategy")),
        *(f"{stock}.single_device.SingleDeviceStrategy" for stock in STOCK),
        *(f"{stock}.single_xla.SingleDeviceXLAStrategy" for stock in STOCK),
        "lightning.pytorch.strategies.fsdp.FSDPStrategy",
        "lightning.fabric.strategies.dp.DataParallelStrategy",
        "lightning.fabric.strategies.xla_fsdp.XLAFSDPStrategy",
        "vae_zoo.distributions.likelihoods.energies.Perceptual",  # Module.eval
    ],
    "reads JSON": [f"{stock}.deepspeed.DeepSpeedStrategy" for stock in STOCK],
    "reads the names of hosts from a file of the job's own environment": [
        "lightning.fabric.plugins.environments.lsf.LSFEnvironment",
    ],
    "serves figures of a TPU to who asks at a port": ["lightning.pytorch.profilers.xla.XLAProfiler"],
    "is a number, or a type of numbers": [
        "vae_zoo.callbacks.predictions.PredictionWriter",
        "vae_zoo.callbacks.predicting.pictures.Pictures",
        "vae_zoo.nn.quantizers.codebooks.EMACodebook",
        *(f"sklearn.ensemble._voting.{name}" for name in ("VotingClassifier", "VotingRegressor")),
        *(f"sklearn.linear_model._least_angle.{name}" for name in ("Lars", "LassoLars")),
        "lightning.fabric.plugins.precision.transformer_engine.TransformerEnginePrecision",
    ],
}
"""Why classes may be open, and which they are; those of trust.CLOSED are not."""


class Found(NamedTuple):
    name: str
    why: tuple[str, ...]


@cache
def suspects() -> list[Found]:
    return [found for file, module in files() for found in in_file(file, module)]


def files() -> Iterator[tuple[Path, str]]:
    for prefix in trust.OPEN:
        try:
            spec = find_spec(prefix)
        except (ModuleNotFoundError, ValueError):  # a class, or a module in C
            spec = None
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            continue
        for folder in spec.submodule_search_locations or []:
            for file in sorted(Path(folder).rglob("*.py")):
                parts = file.relative_to(folder).with_suffix("").parts
                if "tests" not in parts:
                    yield file, ".".join([prefix, *parts]).removesuffix(".__init__")
        if not spec.submodule_search_locations:
            yield Path(spec.origin), prefix


def in_file(file: Path, module: str) -> Iterator[Found]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
            made = [methods[name] for name in ("__init__", "__new__", "__post_init__") if name in methods]
            named = {getattr(item.target, "id", "") for item in node.body if isinstance(item, ast.AnnAssign)}
            for method in made:
                named |= {arg.arg for arg in [*method.args.args, *method.args.kwonlyargs]}
            why = {name for name in named if {*WORDS.split()} & {*name.lower().split("_")}}
            why |= {f"{name}()" for name in called(made, methods | functions) & {*CALLS.split()}}
            if why:
                yield Found(f"{module}.{node.name}", tuple(sorted(why)))


def called(made: list[ast.FunctionDef], known: dict[str, ast.FunctionDef]) -> set[str]:
    """Names of what functions call, and of what the functions of the same file call that they call."""
    names: set[str] = set()
    stack, seen = list(made), set()
    while stack:
        function = stack.pop()
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                names.add(name)
                if name in known and name not in seen:
                    seen.add(name)
                    stack.append(known[name])
    return names


@pytest.mark.slow  # parses some 500 files
def test_every_class_that_may_read_fetch_or_start_something_was_reviewed() -> None:
    found, reviewed = suspects(), {name for names in REVIEWED.values() for name in names}
    assert len(found) > 40
    new = [one for one in found if one.name not in reviewed and not trust._within(one.name, trust.CLOSED)]
    assert not new, "read their constructors: close them in trust.CLOSED, or say in REVIEWED why they may be open"


def test_such_classes_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "class A:\n    def __init__(self, weights_url): ...\n"
        "class B:\n    def __init__(self, x): self._read(x)\n    def _read(self, x): helper(x)\n"
        "class C:\n    def __init__(self, profile, size): ...\n"
        "class D:\n    ckpt_file: str\n"
        "def helper(x): torch.load(x)\n"
    )
    assert [found.name for found in in_file(tmp_path / "a.py", "a")] == ["a.A", "a.B", "a.D"]


@pytest.mark.parametrize(
    "path",
    [
        "torchvision.models.resnet18",
        "torchmetrics.image.fid.NoTrainInceptionV3",
        "torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3",
        "zuko.flows.NSF",
        "sklearn.datasets.fetch_openml",
        "sklearn.pipeline.Pipeline",
        "litdata.StreamingDataset",
        "torch.utils.data.DataLoader",
        "torch.jit.load",
        "lightning.pytorch.cli.LightningCLI",
        "lightning.pytorch.loggers.CometLogger",
        "vae_zoo.hub.load",
        "vae_zoo.checkpoints.folders.from_pretrained",
    ],
)
def test_what_is_not_open(path: str) -> None:
    assert not trust.is_trusted(path)


# A file of weights that is a pickle, given to a class that is open.


@pytest.fixture
def weights(marker: Path) -> str:
    pytest.importorskip("torch_fidelity")
    torch.save({"fc.weight": torch.zeros(1), "evil": Call(os.mkdir, str(marker))}, "weights.pth")
    return str(Path("weights.pth").absolute())


def naming(weights: str) -> dict[str, Any]:
    inception = {
        "class_path": "vae_zoo.metrics.InceptionFeatures",
        "init_args": {"shape": [1, 8, 8], "weights_path": weights},
    }
    return {"class_path": "vae_zoo.nn.Dense", "init_args": {"activation": inception}}


def test_a_file_of_weights_is_read_as_tensors(weights: str) -> None:
    with pytest.raises(ValueError, match=r"weights\.pth is no file of weights, or holds more than tensors"):
        InceptionFeatures((1, 8, 8), weights_path=weights)
    torch.save({"fc.weight": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match=r"weights\.pth holds the weights of another network"):
        InceptionFeatures((1, 8, 8), weights_path=weights)


@pytest.mark.exhaustive
def test_a_file_of_weights_that_a_checkpoint_names(weights: str, content: dict[str, Any], refused: Callable) -> None:
    planted(content, "hyper_parameters", "encoder", value=naming(weights))
    torch.save(planted(content, "vae_zoo", "model", "init_args", "encoder", value=naming(weights)), "evil.ckpt")
    with pytest.raises(ValueError, match=r"holds more than tensors"):
        vae_zoo.load("evil.ckpt")
    for line in ("sample", "test", "fit"):
        assert "holds more than tensors" in refused(line, "--ckpt_path", "evil.ckpt")


def test_a_file_of_weights_that_a_folder_names(weights: str) -> None:
    pytest.importorskip("safetensors")
    vae_zoo.save_pretrained(tiny(VAE), "model")
    config = Path("model/config.json")
    saved = json.loads(config.read_text())
    config.write_text(json.dumps(planted(saved, "model", "init_args", "encoder", value=naming(weights))))
    with pytest.raises(ValueError, match=r"config\.json"):
        vae_zoo.from_pretrained("model")


def test_a_file_of_weights_that_a_config_names(weights: str, refused: Callable) -> None:
    model = {"class_path": "VAE", "init_args": {"encoder": naming(weights)}}
    Path("evil.yaml").write_text(yaml.safe_dump({"model": model, "data": "Digits"}))
    assert "holds more than tensors" in refused("fit", "--config", "evil.yaml")


def test_the_third_party_executes_it(weights: str, marker: Path, tmp_path: Path) -> None:
    """What shows that the probe would be seen."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    executed = tmp_path / "seen"
    torch.save({"evil": Call(os.mkdir, str(executed))}, weights)
    with pytest.raises(RuntimeError):
        NoTrainInceptionV3("inception-v3-compat", ["2048"], weights)
    assert executed.exists()


# Strategies with a reader of their own.


class Sharded:
    """What FSDP does with a whole checkpoint."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        return _lazy_load(checkpoint_path)


def test_a_strategy_that_unpickles(marker: Path, tmp_path: Path) -> None:
    torch.save({"evil": Call(os.mkdir, str(marker))}, "evil.ckpt")
    strategy = Sharded()
    read_plainly(strategy)
    with pytest.raises(ValueError, match=r"evil\.ckpt holds more than tensors"):
        strategy.load_checkpoint("evil.ckpt")
    with pytest.raises(ValueError, match="is a folder of shards, which are pickles"):
        strategy.load_checkpoint(str(tmp_path))
    torch.save({"evil": Call(os.mkdir, str(tmp_path / "seen"))}, "evil.ckpt")
    Sharded().load_checkpoint("evil.ckpt")
    assert (tmp_path / "seen").exists(), "the probe would not be seen"
