"""``vae-zoo sample`` over every model of the zoo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import MODELS, load_arrays, saved, small, takes, tiny
from PIL import Image
from short import few
from torch import Tensor

from vae_zoo.distributions import MSSSIM, ConditionalNormal, FixedNormal, Prior
from vae_zoo.evaluation.sampling import CHUNK, can_generate, generate
from vae_zoo.models import (
    AE,
    M2,
    SVAE,
    VAE,
    VDVAE,
    VQVAE2,
    Autoencoder,
    CategoricalVAE,
    ConditionalVAE,
    GammaVAE,
    LadderVAE,
    TwoLevelVAE,
    TwoStageVAE,
    VaDE,
)

ENDS = "--out must end in .png, .svg, .pdf or .npz, in .csv for rows of a table, or in .txt for texts"
FLAT = (SVAE, GammaVAE)
"""Models whose priors a temperature means nothing for."""


@pytest.fixture
def sampled(run: Callable, tmp_path: Path) -> Callable[..., Any]:
    """Save a tiny model and sample from it: what the command said, and where."""

    def call(cls: type[Autoencoder], *options: str, **kwargs: Any) -> Any:
        torch.manual_seed(0)
        path = saved(tmp_path, tiny(cls, **kwargs))
        return run("sample", "--ckpt_path", str(path), *options)

    return call


@pytest.mark.parametrize("cls", few(MODELS, 1, VAE, AE), ids=lambda cls: cls.__name__)
def test_every_model_generates_or_says_why_not(
    cls: type[Autoencoder], sampled: Callable, run: Callable, tmp_path: Path
) -> None:
    path = saved(tmp_path, tiny(cls))
    outcome = run("sample", "--ckpt_path", str(path), "--num", "16", "--out", "s.png")
    if not can_generate(tiny(cls)):
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert f"{cls.__name__} cannot generate: it has no prior" in outcome.err
        assert not (tmp_path / "s.png").exists()
        return
    assert (outcome.code, outcome.out, outcome.err) == (0, "s.png\n", "")
    columns = 3 if takes(cls, "num_classes") else 4
    rows = -(-16 // columns)
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (34 * columns + 2, 34 * rows + 2)
    call = ("sample", "--ckpt_path", str(path), "--num", "16", "--temperature", "0.5", "--out", "s.npz")
    if cls in FLAT:
        outcome = run(*call)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "has no scale to multiply; leave it at 1" in outcome.err
        return
    assert run(*call).code == 0
    cold = load_arrays(tmp_path / "s.npz")["x"]
    assert cold.shape == (16, 1, 8, 8)
    assert run(*call, "--temperature", "1").code == 0
    warm = load_arrays(tmp_path / "s.npz")["x"]
    assert np.isfinite(cold).all()
    assert np.array_equal(cold, warm) == (cls is CategoricalVAE), "categories of equal probability remain so"
    assert run(*call, "--temperature", "1").code == 0
    assert np.array_equal(load_arrays(tmp_path / "s.npz")["x"], warm), "one seed, one result"
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix in (".png", ".npz")) == ["s.npz", "s.png"]


@pytest.mark.exhaustive
def test_only_the_ae_cannot() -> None:
    """Nor what is the same beside its loss; ``fit-density`` gives them a prior."""
    assert {cls for cls in MODELS if not can_generate(tiny(cls))} == {cls for cls in MODELS if issubclass(cls, AE)}


def test_of_a_class(sampled: Callable, tmp_path: Path) -> None:
    assert sampled(ConditionalVAE, "--class", "2", "--num", "5", "--out", "two.npz").code == 0
    file = load_arrays(tmp_path / "two.npz")
    assert file["y"].tolist() == [2] * 5
    model = tiny(ConditionalVAE)
    x, c = generate(model, 7, seed=3)
    torch.manual_seed(3)
    assert torch.equal(x, model.sample(7))
    assert c is not None
    assert c.tolist() == [0, 1, 2, 0, 1, 2, 0]
    outcome = sampled(ConditionalVAE, "--class", "3")
    assert (outcome.code, outcome.err) == (2, "vae-zoo: error: class must lie in 0 .. 2, got 3.\n")


def test_of_a_cluster(sampled: Callable, tmp_path: Path) -> None:
    assert sampled(VaDE, "--cluster", "2", "--num", "5", "--out", "two.npz", num_clusters=3).code == 0
    model = tiny(VaDE, num_clusters=3)
    torch.manual_seed(0)
    again = tiny(VaDE, num_clusters=3)
    assert torch.equal(torch.from_numpy(load_arrays(tmp_path / "two.npz")["x"]), generate(again, 5, cluster=2)[0])
    assert not torch.equal(generate(model, 5, cluster=1)[0], generate(model, 5)[0])
    outcome = sampled(VaDE, "--cluster", "3", num_clusters=3)
    assert (outcome.code, outcome.err) == (2, "vae-zoo: error: cluster must lie in 0 .. 2, got cluster 3.\n")
    picture = sampled(VaDE, "--cluster", "1", "--num", "4", "--out", "s.svg", num_clusters=3)
    assert picture.code == 0, picture.err
    assert "4 samples of cluster 1, temperature 1<" in (tmp_path / "s.svg").read_text()


def test_a_prior_of_classes(sampled: Callable, tmp_path: Path) -> None:
    prior = partial(ConditionalNormal, num_classes=4)
    assert sampled(VAE, "--class", "3", "--num", "6", "--out", "c.npz", prior=prior).code == 0
    assert load_arrays(tmp_path / "c.npz")["y"].tolist() == [3] * 6
    assert sampled(VAE, "--num", "6", "--out", "all.npz", prior=prior).code == 0
    assert "must lie in 0 .. 3" in sampled(VAE, "--class", "4", prior=prior).err


def test_vectors_are_no_pictures(sampled: Callable, tmp_path: Path) -> None:
    kwargs = {"shape": (5,), "likelihood": FixedNormal}
    outcome = sampled(VAE, "--out", "s.png", **kwargs)
    assert outcome.code == 2
    assert "examples of shape (5,) cannot be drawn: give an --out that ends in .npz" in outcome.err
    assert sampled(VAE, **kwargs).out == "samples.npz\n"
    assert load_arrays(tmp_path / "samples.npz")["x"].shape == (64, 5)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--class three", "argument --class: invalid int value: 'three'"),
        ("--class 1", "VAE knows no classes, got class 1"),
        ("--cluster 1", "VAE has no clusters, got cluster 1"),
        ("--class -1", "--class must be at least 0, got -1"),
        ("--num 0", "--num must be at least 1, got 0"),
        ("--num many", "argument --num: invalid int value"),
        ("--num 5000", "a picture holds at most 4096 samples, got 5000: give an --out that ends in .npz"),
        ("--temperature 0", "--temperature must be positive and finite, got 0.0"),
        ("--temperature nan", "--temperature must be positive and finite, got nan"),
        ("--temperature warm", "argument --temperature: invalid float value"),
        ("--temperature [0.5,warm]", "argument --temperature: invalid float value"),
        ("--temperature []", "argument --temperature: invalid float value"),
        ("--temperature [0.5,0]", "--temperature must be positive and finite, got 0.0"),
        ("--temperature [0.5,1]", "temperature: VAE has no layers of latents, give one number."),
        ("--seed -1", "--seed must be at least 0"),
        ("--out s.gif", f"{ENDS}, got s.gif"),
        ("--out s", f"{ENDS}, got s"),
        ("--out s.svgz", f"{ENDS}, got s.svgz"),
        ("--theme blue", "argument --theme: invalid choice: 'blue'"),
        ("--theme dark --out s.npz", "--theme is of pictures: give an --out that ends in .png, .svg, .pdf, got s.npz"),
        ("--no-labels --out s.npz", "--labels is of pictures: give an --out that ends in .png, .svg, .pdf, got s.npz"),
        ("--out nowhere/s.png", "there is no folder nowhere to write s.png to"),
        ("--out folder.png", "folder.png is a folder: give the name of a file"),
        ("--nmu 3", "unrecognized arguments: --nmu 3"),
        ("--ckpt_path nothing.ckpt", "no checkpoint at nothing.ckpt"),
        ("--ckpt_path folder.png", "no checkpoint at folder.png: give a .ckpt file, the folder of a fit"),
        ("--ckpt_path garbage.ckpt", "error: garbage.ckpt "),
    ],
)
def test_a_mistake_is_one_line(options: str, said: str, sampled: Callable, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "garbage.ckpt").write_text("hello")
    args = options.split() if options.startswith("--num 5") else ["--num", "4", *options.split()]
    outcome = sampled(VAE, *([] if "--out" in args or "5000" not in args else ["--out", "s.png"]), *args)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert len(outcome.err) <= 201
    assert {path.name for path in tmp_path.iterdir()} == {"VAE.ckpt", "folder.png", "garbage.ckpt"}


def test_formats_and_labels(sampled: Callable, tmp_path: Path) -> None:
    def call(*options: str) -> None:
        outcome = sampled(ConditionalVAE, "--num", "6", *options)
        assert (outcome.code, outcome.err) == (0, "")

    call("--out", "s.svg", "--temperature", "0.5")
    text = (tmp_path / "s.svg").read_text()
    assert ">ConditionalVAE: 6 samples, temperature 0.5</text>" in text
    assert all(f">{label}</text>" in text for label in range(3))
    call("--out", "two.svg", "--class", "2")
    text = (tmp_path / "two.svg").read_text()
    assert text.count("</text>") == 1
    assert "6 samples of class 2, temperature 1<" in text
    call("--out", "bare.svg", "--no-labels")
    assert "</text>" not in (tmp_path / "bare.svg").read_text()
    call("--out", "s.pdf")
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")
    call("--out", "bare.png")
    call("--out", "white.png", "--labels")
    call("--out", "dark.png", "--theme", "dark")
    bare, white, dark = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("bare", "white", "dark"))
    assert bare.shape == (2 * 34 + 2, 3 * 34 + 2, 3)
    assert white.shape == dark.shape
    assert (white[0, 0].tolist(), dark[0, 0].tolist()) == ([255, 255, 255], [19, 20, 22])
    top, left = np.argwhere((white == dark).all(-1))[0]
    assert np.array_equal(white[top : top + 70, left : left + 104], bare)


def test_names_of_classes_and_data(run: Callable, tmp_path: Path) -> None:
    path = saved(tmp_path, tiny(ConditionalVAE))
    content = torch.load(path, weights_only=True)
    content["vae_zoo"] |= {
        "data": {"class_path": "vae_zoo.data.Sprites", "init_args": {}},
        "classes": ["cat", "dog & cow", "ox"],
    }
    torch.save(content, path)
    assert run("sample", "--ckpt_path", str(path), "--num", "6", "--out", "s.svg").code == 0
    text = (tmp_path / "s.svg").read_text()
    assert ">ConditionalVAE on Sprites: 6 samples, temperature 1</text>" in text
    assert all(f">{name}</text>" in text for name in ("cat", "dog &amp; cow", "ox"))


@pytest.mark.parametrize("kind", [".npz", ".png", ".svg"])
def test_nothing_is_left_where_writing_fails(
    sampled: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vae_zoo.system.writing.os.fsync", full)
    outcome = sampled(VAE, "--out", f"s{kind}")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == (
        f"vae-zoo: error: cannot write s{kind}, No space left on device: make room on its disk, or choose another "
        "folder."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["VAE.ckpt"]


class NoScale(Prior):
    """A prior whose spread is not known."""

    def forward(self, c: Tensor | None = None) -> Any:
        return torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4), validate_args=False)


class OwnSample(VAE):
    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True) -> Tensor:
        return torch.zeros(num, *self.shape)


def test_generate_says_what_cannot_be() -> None:
    model = tiny(VAE)
    with pytest.raises(ValueError, match="num must be at least 1"):
        generate(model, 0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        generate(model, 1, temperature=-1)
    with pytest.raises(ValueError, match="takes no temperature"):
        generate(tiny(OwnSample), 1, temperature=0.5)
    assert generate(tiny(OwnSample), 2)[0].shape == (2, 1, 8, 8)
    no_scale = VAE(shape=(3,), latent_dim=4, encoder=small, decoder=small)
    no_scale.latent_prior = NoScale((4,))
    assert generate(no_scale, 2)[0].shape == (2, 3)
    with pytest.raises(ValueError, match="means nothing here: MultivariateNormal has no scale"):
        generate(no_scale, 2, temperature=0.5)


@pytest.mark.parametrize("cls", [VAE, ConditionalVAE])
def test_samples_go_to_the_file_as_they_are_drawn(
    sampled: Callable, monkeypatch: pytest.MonkeyPatch, cls: type[Autoencoder]
) -> None:
    """No more than a part of them is in memory, and the file is that of one array."""
    seen, real = [], cls.sample

    def sample(self: Any, num: int, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(num)
        return real(self, num, *args, **kwargs)

    monkeypatch.setattr(cls, "sample", sample)
    held: list[Any] = []
    monkeypatch.setattr(torch, "cat", lambda parts, *_, cat=torch.cat: held.append(len(parts)) or cat(parts, *_))
    assert sampled(cls, "--num", str(2 * CHUNK + 3), "--out", "s.npz").code == 0
    assert seen == [CHUNK, CHUNK, 3]
    assert max(held, default=0) <= 2, "the condition beside the latent"
    with np.load("s.npz") as found:
        assert found["x"].shape == (2 * CHUNK + 3, 1, 8, 8)
        assert found["x"].dtype == np.float32
        if cls is ConditionalVAE:
            assert found["y"].tolist() == [n % 3 for n in range(2 * CHUNK + 3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num", "10000000000000", "--out", "s.npz"], "--num 10000000000000: these take 2560000.0 GB, and the disk "),
        (["--num", "3000", "--out", "s.png"], "--num 3000: a picture holds at most 2048 images of 8 by 8."),
    ],
)
def test_more_than_there_is_room_for(
    sampled: Callable, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.setattr("vae_zoo.callbacks.pictures.drawing.MOST_PIXELS", 2**17)
    monkeypatch.setattr(VAE, "sample", lambda *_, **__: pytest.fail("samples are drawn"))
    outcome = sampled(VAE, *options)
    assert outcome.code == 2
    assert said in outcome.err.splitlines()[-1]


def test_more_samples_begin_with_the_same_ones() -> None:
    model = tiny(ConditionalVAE)
    few, _ = generate(model, CHUNK)
    more, c = generate(model, CHUNK + 5)
    assert torch.equal(more[:CHUNK], few)
    assert c is not None
    assert c[CHUNK:].tolist() == [(CHUNK + n) % 3 for n in range(5)]


@pytest.mark.parametrize("cls", few([LadderVAE, TwoLevelVAE, VDVAE], 1), ids=lambda cls: cls.__name__)
def test_a_temperature_for_each_layer(cls: type[Autoencoder], sampled: Callable, tmp_path: Path) -> None:
    model: Any = tiny(cls)
    num, given = len(model.latent_dims), [0.5 + 0.1 * n for n in range(len(model.latent_dims))]
    found = {}
    for name, options in {
        "quoted": [str(given)],
        "split": str(given).split(),
        "several": [str(t) for t in given],
        "one": ["0.5"],
        "equal": [str([0.5] * num)],
    }.items():
        outcome = sampled(cls, "--num", "3", "--temperature", *options, "--out", f"{name}.npz")
        assert (outcome.code, outcome.err) == (0, "")
        found[name] = load_arrays(tmp_path / f"{name}.npz")["x"]
    torch.manual_seed(0)
    model = tiny(cls).eval()
    assert np.array_equal(found["quoted"], generate(model, 3, temperature=given)[0].numpy())
    assert np.array_equal(found["split"], found["quoted"])
    assert np.array_equal(found["several"], found["quoted"])
    assert np.allclose(found["equal"], found["one"], atol=1e-6)
    assert not np.allclose(found["quoted"], found["one"], atol=1e-4)
    outcome = sampled(cls, "--temperature", *[str(t) for t in given], "0.9", "--out", "wrong.npz")
    said = f"temperature: {num} layers need one each, the lowest first, got {num + 1}."
    assert (outcome.code, outcome.err) == (2, f"vae-zoo: error: {said}\n")
    assert not (tmp_path / "wrong.npz").exists()


@pytest.mark.parametrize("cls", few([VQVAE2, M2, TwoStageVAE], 1), ids=lambda cls: cls.__name__)
def test_several_temperatures_without_layers(cls: type[Autoencoder], sampled: Callable, tmp_path: Path) -> None:
    outcome = sampled(cls, "--temperature", "0.5", "0.6", "--out", "s.npz")
    said = f"vae-zoo: error: temperature: {cls.__name__} has no layers of latents, give one number.\n"
    assert (outcome.code, outcome.err) == (2, said)
    assert not (tmp_path / "s.npz").exists()


def test_draws_instead_of_means(run: Callable, tmp_path: Path) -> None:
    model = tiny(VAE, shape=(5,), likelihood=partial(FixedNormal, scale=0.3))
    path = str(saved(tmp_path, model))
    found = {}
    for kind in ("mean", "sample"):
        out = run("sample", "--ckpt_path", path, "--num", "300", "--draw", kind, "--out", f"{kind}.npz")
        assert out.code == 0, out.err
        found[kind] = load_arrays(tmp_path / f"{kind}.npz")["x"]
    assert np.var(found["sample"], 0).mean() - np.var(found["mean"], 0).mean() == pytest.approx(0.09, abs=0.02)
    out = run(
        "sample",
        "--ckpt_path",
        str(saved(tmp_path, tiny(VAE, shape=(1, 16, 16), likelihood=MSSSIM))),
        "--draw",
        "sample",
    )
    assert (out.code, "MSSSIM has no density to draw from, only a mean: leave draw out." in out.err) == (2, True)
