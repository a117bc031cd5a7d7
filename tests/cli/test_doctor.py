"""``vae-zoo doctor``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import said
from helpers import quiet_trainer, tiny
from short import few

from vae_zoo.checkpoints import files
from vae_zoo.data import Digits
from vae_zoo.models import VAE


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit of three steps."""
    folder = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    trainer = quiet_trainer(folder, max_steps=3, max_epochs=-1)
    trainer.fit(tiny(VAE), Digits())
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    return folder


def test_a_checkpoint(fitted: Path, run: Callable[..., Any]) -> None:
    """A model that has seen nothing, whose metrics rose to its end, in the folder of its fit."""
    rows = [f"{n},{n // 4},{-50 + 2 * n}" for n in range(12)] + ["13,9,0"]  # the last is of a later step
    (fitted / "metrics.csv").write_text("\n".join(["epoch,step,val/elbo", *rows, ""]))
    outcome = run("doctor", str(fitted), "--num", "100", "--json", "found.json")
    assert outcome.code == 0, outcome.err
    report = json.loads(Path("found.json").read_text())
    kinds = {finding["name"]: finding["severity"] for finding in report["findings"]}
    assert kinds["posterior_collapse"] == "fault"
    assert kinds["stopped_early"] == "warning"
    assert report["model"] == "VAE"
    lines = outcome.out.splitlines()
    first = [line.split()[0] for line in lines if not line.startswith(" ") and ": " in line][:-1]
    assert first == sorted(first, key=["fault", "warning", "fine"].index)
    assert any(line.strip().startswith("remedy: ") for line in lines)
    assert "faults, " in outcome.out


@pytest.mark.exhaustive
def test_other_examples(fitted: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    np.save(tmp_path / "bytes.npy", np.full((30, 1, 8, 8), 200, np.float32))
    path = str(fitted / "checkpoints" / "last.ckpt")
    outcome = run("doctor", path, "--data", "Arrays", "--data.path", "bytes.npy")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("fault    examples_off_range: 100.0% of the values")
    outcome = run("doctor", path, "--data.batch_size=20", "--num", "40")
    assert outcome.code == 0, outcome.err
    assert "fine     examples_off_range" in outcome.out


def test_a_model_that_names_no_data(run: Callable[..., Any], tmp_path: Path) -> None:
    tiny(VAE).save_pretrained(tmp_path / "shared")
    assert "name those that it was fitted to, by --data." in said(run("doctor", "shared"))
    outcome = run("doctor", "shared", "--data", "Digits", "--data.num_labels=20", "--num", "40")
    assert outcome.code == 0, outcome.err
    assert "posterior_collapse" in outcome.out


def test_broken_weights_are_named_though_no_model_can_be_made(fitted: Path, run: Callable[..., Any]) -> None:
    content = torch.load(fitted / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"]["encoder.layers.1.weight"][0] = float("nan")
    files.write(content, "broken.ckpt")
    outcome = run("doctor", "broken.ckpt")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("fault    weights_not_finite: 1 of ")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--num", "3"], "--num must be at least 20, for errors to mean anything, got 3."),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--json", "found.txt"], "--json must end in .json, got found.txt."),
        (["--json", "nowhere/found.json"], "there is no folder nowhere to write found.json to."),
        (["--daat.x", "1"], "unknown option --daat.x, did you mean --data?"),
        (["--data.path"], "--data.path needs a value."),
        (["--data", "Sprites"], "--data: examples must be of shape (1, 8, 8), got (1, 64, 64)."),
    ],
)
def test_refuses(more: list[str], line: str, fitted: Path, run: Callable[..., Any]) -> None:
    assert line in said(run("doctor", str(fitted), *more))


def test_refuses_what_is_no_checkpoint(run: Callable[..., Any], tmp_path: Path) -> None:
    assert "there is nothing at nowhere" in said(run("doctor", "nowhere"))
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt" in said(run("doctor", "text.ckpt"))


RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(600, 3)) @ RANDOM.normal(size=(3, 8)) + 0.3 * RANDOM.normal(size=(600, 8))
FITTED = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
FITTED += ["--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false", "--samples.every_n_epochs=0"]


def images(path: Path, mode: str = "RGB", *, broken: bool = False) -> None:
    from PIL import Image

    path.mkdir()
    for n in range(30):
        pixels = RANDOM.integers(0, 256, (18, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path / f"{n}.png")
    if broken:
        (path / "broken.png").write_text("no image")


def table(path: Path, **more: Any) -> None:
    import pandas

    city = RANDOM.choice(["bergen", "oslo"], 300)
    pay, visits = np.exp(RANDOM.normal(9, 1, 300)), RANDOM.negative_binomial(1, 0.3, 300)
    made = {
        "name": [f"p{n}" for n in range(300)],
        "city": city,
        "pay": pay,
        "visits": visits,
        "member": visits % 2 == 0,
    }
    made |= {"age": np.where(RANDOM.random(300) < 0.1, np.nan, RANDOM.normal(40, 9, 300)), "unit": ["kg"] * 300}
    pandas.DataFrame({**made, **more}).to_csv(path, index=False)


def named(path: Path, x: np.ndarray, **more: Any) -> None:
    import pandas

    pandas.DataFrame({**{f"f{n}": column for n, column in enumerate(x.T)}, **more}).to_csv(path, index=False)


COUNTS = RANDOM.negative_binomial(0.5, 0.2, size=(300, 12))
MADE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "images": ("pictures", images, "ConvVAE --data ImageFolder"),
    "numbers": ("x.csv", lambda path: named(path, VECTORS), "MLPVAE --data Arrays"),
    "a mixed table": ("x.csv", table, "TVAE --data Table"),
    "counts": ("x.npy", lambda path: np.save(path, COUNTS), "CountVAE --data Counts"),
    "binary arrays": ("x.npy", lambda path: np.save(path, (VECTORS > 0).astype(np.float32)), "MLPVAE --data Arrays"),
}
MORE = {
    "grey images": ("pictures", lambda path: images(path, "L", broken=True), "--data.channels 1 --data.bad_files skip"),
    "binary images": ("x.npy", lambda p: np.save(p, (RANDOM.random((99, 16, 16)) < 0.5)), "ConvVAE"),
    "bytes": ("x.npy", lambda p: np.save(p, RANDOM.integers(0, 256, (99, 8, 8), dtype=np.uint8)), "OptimalNormal"),
    "bytes as floats": ("x.npy", lambda p: np.save(p, 255 * RANDOM.random((99, 8, 8))), "OptimalNormal"),
    "volumes": ("x.npy", lambda p: np.save(p, RANDOM.random((60, 1, 16, 16, 16))), "ConvVAE"),
    "gaps": ("x.npy", lambda p: np.save(p, np.where(RANDOM.random((600, 8)) < 0.1, np.nan, VECTORS)), "missing true"),
    "heavy tails": ("x.npy", lambda p: np.save(p, VECTORS**5), "StudentT"),
    "long tails": ("x.npy", lambda p: np.save(p, np.exp(1.5 * VECTORS)), "log1p"),
    "labels and ids": (
        "x.csv",
        lambda p: named(p, VECTORS, target=np.arange(600) % 3, id=np.arange(600)),
        "--data.id_column id --data.label_column target",
    ),
    "no names": ("x.csv", lambda p: np.savetxt(p, VECTORS, delimiter=","), "MLPVAE --data Arrays"),
    "counts with labels": (
        "x.csv",
        lambda p: named(p, COUNTS, label=np.repeat(["a", "b", "c"], 100)),
        "TVAE --data Table",
    ),
    "an empty column": ("x.csv", lambda p: table(p, nothing=[None] * 300), '"nothing"'),
    "many categories": ("x.csv", lambda p: table(p, street=[f"s{n % 220}" for n in range(300)]), '"street"'),
}


@pytest.mark.filterwarnings("default")  # two steps of training end in a collapse, and are warned of
@pytest.mark.parametrize("name", few([*MADE, *MORE], 1, *MADE))
def test_the_recommended_command_works(name: str, run: Callable[..., Any]) -> None:
    file, make, what = {**MADE, **MORE}[name]
    make(Path(file))
    outcome = run("doctor", file, "--json", "found.json")
    assert outcome.code == 0, outcome.err
    command = json.loads(Path("found.json").read_text())["recommended"]["command"]
    assert command in outcome.out.splitlines()
    assert what in command
    outcome = run(*shlex.split(command)[1:], *FITTED)
    assert outcome.code == 0, outcome.err


def test_leakage_between_files(run: Callable[..., Any]) -> None:
    named(Path("train.csv"), VECTORS)
    named(Path("test.csv"), VECTORS[:50])
    outcome = run("doctor", "train.csv", "--test", "test.csv")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(
        "fault    leakage_between_splits: 50 test examples (100.0%) are in the training split"
    )
    assert "--data.test_path test.csv" in outcome.out


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("x.txt", "x.txt must be a checkpoint, a folder of images, or a file ending in .csv,"),
        ("x.csv --label_column colour", "--label_column: x.csv has no column colour, but f0, f1,"),
        ("x.csv --test y.csv", "There is no file y.csv."),
        ("x.csv --data Arrays", "--data belongs to a checkpoint, and x.csv holds data: leave it out."),
        ("x.npy --test wide.npy", "examples in wide.npy have the shape (9,), those in x.npy (8,)."),
        ("empty", "There are no images in empty"),
        ("pictures --test x.csv", "leave --test and others out"),
        ("torn.npz", "torn.npz is truncated or no .npz file"),
        ("x.csv --test other.csv", "other.csv has no column f0, which x.csv has."),
    ],
)
def test_refuses_data(args: str, line: str, run: Callable[..., Any]) -> None:
    Path("x.txt").write_text("text")
    Path("torn.npz").write_bytes(b"PK")
    Path("empty").mkdir()
    named(Path("x.csv"), VECTORS)
    Path("other.csv").write_text("a,b\n1,2\n")
    np.save("x.npy", VECTORS)
    np.save("wide.npy", np.zeros((9, 9)))
    images(Path("pictures"))
    assert line in said(run("doctor", *args.split(), "--json", "found.json"))
    assert not Path("found.json").exists()


def test_options_of_data_are_refused_with_a_checkpoint(fitted: Path, run: Callable[..., Any]) -> None:
    assert "--transpose belongs to a file of data" in said(run("doctor", str(fitted), "--transpose"))


@pytest.mark.exhaustive
def test_signals(run: Callable[..., Any]) -> None:
    """Real numbers of any range, in an array whose shape does not tell what its axes are."""
    np.save("x.npy", 50 * RANDOM.normal(size=(520, 3, 32)))
    assert "set layout to sequence" in said(run("doctor", "x.npy"))
    outcome = run("doctor", "x.npy", "--layout", "sequence")
    assert outcome.code == 0, outcome.err
    assert ": 0 faults, 0 warnings" in outcome.out
    (command,) = [line for line in outcome.out.splitlines() if line.startswith("vae-zoo fit ")]
    assert "--data.layout sequence" in command
    outcome = run(*shlex.split(command)[1:], *FITTED)
    assert outcome.code == 0, outcome.err
